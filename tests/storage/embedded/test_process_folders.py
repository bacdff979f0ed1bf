"""What a killed process leaves behind goes when the next one starts."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from storage.embedded.process_folders import folders_of, make_folder, remove_left_behind

MAKE = "from storage.embedded.process_folders import make_folder; print(make_folder())"


def test_folders_of_processes_that_are_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ours = make_folder()
    others = [tmp_path / name for name in ("rt-another-x", "other")]
    for folder in (ours, *others):
        (folder / "sockets").mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", MAKE], stdout=subprocess.PIPE, text=True)
    left = Path(gone.communicate()[0].strip())
    assert folders_of(gone.pid) == [left]
    remove_left_behind()
    assert sorted(tmp_path.iterdir()) == sorted([ours, *others])
