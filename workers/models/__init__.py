"""Models: loading pipelines, what a model tells of itself, and keeping several in memory."""
