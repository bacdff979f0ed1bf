"""Host memory that is used again once nobody refers to it.

Fresh pages must be zeroed by the kernel, which took a tenth of a reader's time. What is handed
out is the caller's own for as long as it, a tensor over it or a view of it lives.
"""

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_ROUND = 1 << 20  # sizes that differ a little share their memory


class HostBufferCache:
    """Thread-safe. Keeps up to ``limit_bytes`` of memory that is in nobody's use."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._idle: deque[Bytes] = deque()

    def take(self, size: int) -> Bytes:
        """``size`` bytes that hold anything."""
        whole = -(-size // _ROUND) * _ROUND
        owner = self._take_idle(whole)
        if owner is None:
            owner = np.empty(whole, np.uint8)  # numpy asks for huge pages, torch would not
        # over a memoryview: views of plain slices would refer past this array to its owner
        lent: Bytes = np.frombuffer(owner.data, np.uint8, size)
        weakref.finalize(lent, self._idle.append, owner).atexit = False
        return lent

    def _take_idle(self, whole: int) -> Bytes | None:
        """An idle one of that size; drops what exceeds the limit. Other threads may append."""
        kept, found, held = [], None, 0
        while True:
            try:
                owner = self._idle.popleft()
            except IndexError:
                break
            if found is None and owner.nbytes == whole:
                found = owner
            elif held + owner.nbytes <= self.limit_bytes:
                kept.append(owner)
                held += owner.nbytes
        self._idle.extend(kept)
        return found
