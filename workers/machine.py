"""What the machine has that a worker process runs on: cores, memory, GPUs."""

import os
import re
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_DEVICES = Path("/dev")


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Of the machine, or of the container where that may take less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return whole


def gpus() -> int:
    """NVIDIA's devices, whoever uses them: Ray shows each process its own alone."""
    return sum(1 for path in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
