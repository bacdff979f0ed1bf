"""Fixtures shared by all tests; servers are in tests/servers.py."""

import os

# before torch is imported anywhere: two test processes must not fight over the cores
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# before triton is: its interpreter runs our kernels; with 0, a GPU does
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.servers"]
