"""What a model does on this machine, before it is served: `python -m workers.check`."""
