"""What capture, transfer and anchored edits cost: ``python -m bench.engine``."""
