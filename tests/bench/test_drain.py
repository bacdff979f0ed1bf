"""A stop with one job running and twenty waiting ends in its time, and leaves nothing behind."""

from pathlib import Path

import pytest

from bench.drain import measure

pytestmark = pytest.mark.ray
TIMEOUT_S = 12.0


@pytest.mark.timeout(300)
def test_a_stop_with_a_backlog_ends_and_leaves_nothing(tmp_path: Path) -> None:
    """The running job is longer than the drain: it is handed back."""
    found = measure(tmp_path / "data", drain_timeout_s=TIMEOUT_S, steps=100)
    del found["seconds"]
    assert found == {
        "queued": 20,
        "drain_timeout_s": TIMEOUT_S,
        "overran": 0,
        "killed": 0,
        "left_processes": 0,
        "left_ports": 0,
        "left_folders": 0,
        "lost": 0,
        "failed": 0,
    }
