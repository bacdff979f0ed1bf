"""Processes that outlive the command that starts them. Each leads a session of its own, by which
its children are found, however deep and whoever adopted them (Linux)."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

_LOOK_S = 0.1


class Processes:
    """``folder`` keeps a file per part with its leader's pid, ``logs`` what each part prints."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder, self._logs = folder, logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, part: str, command: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> "subprocess.Popen[bytes]":
        """Start ``part``, which must not run; what it prints is appended to its log."""
        if self.pids(part):
            raise RuntimeError(f"{part} runs already")
        with self.log(part).open("ab") as output:
            child = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        (self._folder / part).write_text(str(child.pid))
        self._children[part] = child
        return child

    def log(self, part: str) -> Path:
        return self._logs / f"{part}.log"

    def parts(self) -> list[str]:
        """All that were started and not stopped since."""
        return sorted(path.name for path in self._folder.iterdir())

    def pids(self, part: str) -> list[int]:
        """The leader and its children that live, in order."""
        try:
            session = int((self._folder / part).read_text())
        except FileNotFoundError:
            return []
        return sorted(pid for pid, its in _sessions() if its == session)

    def stop(self, part: str, grace_s: float) -> bool:
        """SIGTERM to the leader; False: it had to be killed after ``grace_s``.

        What its leader leaves behind is killed, as the end of a container kills it.
        """
        leader = next(iter(self.pids(part)), None)
        if leader is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
        clean = wait_until(lambda: leader not in self.pids(part), grace_s)
        self.kill(part)
        return clean

    def kill(self, part: str) -> None:
        """SIGKILL to all of it at once, as where a machine is lost."""
        while found := self.pids(part):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)
        if (child := self._children.pop(part, None)) is not None:
            child.wait()
        (self._folder / part).unlink(missing_ok=True)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def living(pids: Collection[int]) -> list[int]:
    """Those of ``pids`` that have not ended."""
    return [pid for pid, _ in _sessions() if pid in pids]


def _sessions() -> Iterator[tuple[int, int]]:
    """(pid, session) of all that live; zombies do not."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            fields = status.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(status.parent.name), int(fields[3])
