"""Films that the model did not make: `python -m bench.own_videos`."""
