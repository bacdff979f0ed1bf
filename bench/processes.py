"""The processes that this one started, however deep, found by their titles (Linux)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

WORKER = "ServeReplica:retake:VideoWorker"
DISPATCHER = "ServeReplica:retake:Dispatcher"
CONTROLLER = "ServeController"


def processes(title: str) -> list[int]:
    """Pids of our descendants whose title holds ``title``, in order."""
    parents = dict(_parents())

    def ours(pid: int) -> bool:
        while pid > 1:
            if pid == os.getpid():
                return True
            pid = parents.get(pid, 0)
        return False

    return sorted(pid for pid in parents if title in _title(pid) and ours(pid))


def _parents() -> Iterator[tuple[int, int]]:
    """(pid, parent's pid) of all that live."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            fields = status.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(status.parent.name), int(fields[1])


def _title(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
