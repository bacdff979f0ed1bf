"""The GPU side: loads pipelines, runs jobs, keeps attention. Imports schemas and storage only."""
