"""The drawn films that the bundled model is trained on and judged by."""
