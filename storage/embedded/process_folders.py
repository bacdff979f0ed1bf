"""Temporary folders of Ray that tell whose they are: `rt-`, the process' id, then letters.

Whoever finds one knows whether it is in use. Names are short: the sockets in them have long ones.
"""

import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "rt-"


def make_folder() -> Path:
    """A new one of this process."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def folders_of(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{_PREFIX}{pid}-*"))


def remove_left_behind() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
