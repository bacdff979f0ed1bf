"""Runs a server that ends with its parent process, at most one for each lock file.

Run as a script, with only the standard library: ``watchdog.py PARENT_PID LOCK_FILE COMMAND…``. It
takes the lock, asks the kernel for SIGTERM when the parent dies, then replaces itself by the
command; both survive the exec, so the lock is held exactly as long as the server lives. (The
alternative, ``preexec_fn``, runs Python between fork and exec, which may deadlock under threads.)
"""

import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

LOCKED = 75  # exit status, EX_TEMPFAIL: another server holds the lock
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def wrap(command: list[str], lock_file: Path) -> list[str]:
    """The command line that runs ``command`` under this module, as a child of this process."""
    # isolated, and without the site packages: it starts in 20 ms
    start = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(lock_file)]
    return [*start, *command]


def hold(lock_file: Path) -> int | None:
    """Take the lock for as long as this process lives, as a descriptor; None: it is held."""
    lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_held(lock_file: Path) -> bool:
    """Whether a server that was started with this lock lives."""
    if not lock_file.exists():
        return False
    lock = hold(lock_file)
    if lock is not None:
        os.close(lock)
    return lock is None


def main(parent: int, lock_file: str, command: list[str]) -> int:
    lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return LOCKED
    os.set_inheritable(lock, True)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # else it died before the request above took effect
        os.execv(command[0], command)
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
