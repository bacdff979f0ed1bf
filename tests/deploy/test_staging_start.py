"""A part of staging that ends before it is ready is started again, as often as it may be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.staging.parts import Part
from deploy.staging.stack import Stack, StackError
from deploy.staging.stage import Stage

# ends the first time, as a Ray node that did not hear from its head in time
SECOND_TIME = """
if [ -e tried ]; then touch up; exec sleep 600; fi
touch tried; echo "too slow"; exit 1
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(Stage.make(tmp_path / "stage"))
    yield stack
    stack.processes.kill("part")
    stack.stage.ray_folder.rmdir()


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_part_that_ends_is_started_again(stack: Stack, tmp_path: Path, restarts: int) -> None:
    part = Part(["bash", "-c", f"cd {tmp_path}\n{SECOND_TIME}"], dict(os.environ))
    if restarts:
        stack._start("part", part, (tmp_path / "up").exists, restarts=restarts)
        assert len(stack.processes.pids("part")) == 1
    else:
        with pytest.raises(StackError, match="part did not start: too slow"):
            stack._start("part", part, (tmp_path / "up").exists)
