"""Twenty quick runs of the fault bench: nothing lost, nothing twice, every byte as undisturbed."""

import asyncio
import os
from pathlib import Path

import pytest

from bench.fault_stack import FAULTS, open_stack
from bench.faults import measure
from bench.processes import processes
from workers.local import prepare_environment

pytestmark = pytest.mark.ray

RUNS = 20

prepare_environment()  # before a test imports Ray


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back afterwards
    before = set(processes(""))
    with open_stack(tmp_path) as stack:
        tally, orphans = asyncio.run(measure(stack, RUNS, seed=0, steps=20, within_s=0.3))
    assert (tally.lost, tally.doubled, tally.unequal, orphans) == (0, 0, 0, 0)
    assert tally.unlisted == 0
    assert set(tally.recovery_s) == set(FAULTS)
    assert set(processes("")) <= before
