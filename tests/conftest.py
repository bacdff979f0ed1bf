"""Fixtures shared by all tests; servers are in tests/servers.py."""

import os
from pathlib import Path

import pytest

# before torch is imported anywhere: two test processes must not fight over the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# before triton is: its interpreter runs our kernels; with 0, a GPU does
os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.browser", "tests.servers"]

TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the two processes that run the suite, one gets every test that starts a Ray, in order.
    The other tests of a file stay together, because they share fixtures."""
    if not config.pluginmanager.hasplugin("xdist"):  # -p no:xdist: its marker is unknown
        return
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        group = "ray" if item.get_closest_marker("ray") else path
        item.add_marker(pytest.mark.xdist_group(group))
