"""Ends a child process together with everything that it started, however deep (Linux)."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from storage.embedded.process_folders import folders_of


def kill_session(child: "subprocess.Popen[bytes]") -> None:
    """SIGKILL a child that leads a session of its own, and all of that session.

    Ray's processes form groups of their own, and outlive the one that started them. Its folder in
    the temporary one, whose name holds the child's id, is removed.
    """
    while pids := list(session_pids(child.pid)):  # again: one may have begun another meanwhile
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.poll()  # a dead child counts until it was waited for
    child.wait()
    for folder in folders_of(child.pid):
        shutil.rmtree(folder, ignore_errors=True)


def session_pids(session: int) -> Iterator[int]:
    """Pids of the processes of a session that have not ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, of = status.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                yield int(status.parent.name)
