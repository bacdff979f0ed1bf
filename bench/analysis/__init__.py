"""What an analysis costs, and the analysis of the bundled model."""
