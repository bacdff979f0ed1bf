"""The `retake` command: its client of the API, the demo, the embedded stack, admin commands."""
