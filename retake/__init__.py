"""What a person types: the command line, its client, the demo, and the embedded stack."""
