"""The FiVE-Bench protocol (arXiv 2503.13684) on a folder of edits: `python -m bench.five`."""
