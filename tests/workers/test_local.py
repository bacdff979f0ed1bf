"""What a killed process of workers leaves behind goes when the next one starts."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from workers.local import FOLDER_PREFIX, remove_left_behind


def test_folders_of_processes_that_are_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f"{FOLDER_PREFIX}{pid}-x" for pid in (gone.pid, os.getpid())]
    names += [f"{FOLDER_PREFIX}another-x", "other"]
    for name in names:
        (tmp_path / name / "sockets").mkdir(parents=True)
    remove_left_behind()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
