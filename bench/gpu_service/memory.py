"""The peak of memory while something runs: of the processes on the host, and of the devices."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.processes import processes

GiB = 1 << 30
_EVERY_S = 0.5


@dataclass
class PeakMemory:
    """In GiB. ``host``: of all processes that this one started, shared pages counted in part.

    ``device``: the fullest GPU's use, by whatever runs on it; None without a GPU.
    """

    host: float = 0.0
    device: float | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextlib.contextmanager
    def watch(cls, gpus: int) -> Iterator[Self]:
        peak = cls()
        thread = threading.Thread(target=peak._sample, args=(gpus,), daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            peak._over.set()
            thread.join()

    def _sample(self, gpus: int) -> None:
        while not self._over.wait(_EVERY_S):
            self.host = max(self.host, sum(map(_resident, _started())) / GiB)
            if gpus:
                self.device = max(self.device or 0.0, _fullest() / GiB)


def _started() -> list[int]:
    return [pid for pid in processes("") if pid != os.getpid()]


def _resident(pid: int) -> int:
    """Bytes; 0 of a process that has ended."""
    with contextlib.suppress(OSError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _fullest() -> int:
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    used = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return max(map(int, used)) << 20
