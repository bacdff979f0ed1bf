"""Bounded memory between the denoising and the store.

What was copied from the model, and what was encoded and not yet uploaded, together never exceed
the pool: a ``take`` beyond it waits. So a capture's memory does not depend on the artifact's size.
"""

import threading
from collections import deque

import numpy as np
import torch
from torch import Tensor


class PoolClosed(Exception):
    """The writer stopped: nothing more will be taken."""


class BufferPool:
    """Host buffers by size, used again and again (a fresh one costs a page fault every 4 KiB).

    ``pinned``: page-locked, so that the device copies into them without waiting. torch's blocks of
    such memory have sizes of powers of two, and count as what they are.
    """

    def __init__(self, limit_bytes: int, *, pinned: bool = False) -> None:
        self.limit_bytes = limit_bytes
        self.peak_bytes = 0
        self.waited = 0  # how often a take had to wait: the store is slower than the denoising
        self._pinned = pinned
        self._used = 0
        self._idle: dict[int, deque[Tensor]] = {}
        self._idle_bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, size: int) -> Tensor:
        """A buffer of ``size`` bytes (uint8); waits for room. Raises PoolClosed, ValueError."""
        room = self._room(size)
        if room > self.limit_bytes:
            raise ValueError(f"{room} bytes do not fit a pool of {self.limit_bytes}")
        with self._changed:
            self.waited += self._full(room)
            self._changed.wait_for(lambda: self._closed or not self._full(room))
            if self._closed:
                raise PoolClosed
            self._count(room)
            ready = self._idle.get(size)
            if ready:
                self._idle_bytes -= room
                return ready.pop()
            self._trim(self.limit_bytes - self._used)
        if self._pinned:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        # numpy asks for huge pages, torch does not: a fifth of the page faults' time
        return torch.from_numpy(np.empty(size, np.uint8))

    def give(self, buffer: Tensor, *, keep_bytes: int = 0) -> None:
        """Hand ``buffer`` back; ``keep_bytes`` stay counted, for what was made of it."""
        with self._changed:
            room = self._room(buffer.nbytes)
            self._count(keep_bytes - room)
            if self._closed:
                return
            self._idle.setdefault(buffer.nbytes, deque()).append(buffer)
            self._idle_bytes += room
            self._trim(self.limit_bytes - self._used)

    def release(self, size: int) -> None:
        """Stop counting ``size`` bytes that were kept."""
        with self._changed:
            self._count(-size)

    def close(self) -> None:
        """Wake everybody who waits, with PoolClosed; drop the buffers."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._idle_bytes = 0
            self._changed.notify_all()

    def _room(self, size: int) -> int:
        """What a buffer of ``size`` bytes takes."""
        return 1 << (size - 1).bit_length() if self._pinned else size

    def _full(self, room: int) -> bool:
        return self._used + room > self.limit_bytes

    def _count(self, change: int) -> None:
        self._used += change
        self.peak_bytes = max(self.peak_bytes, self._used)
        if change < 0:
            self._changed.notify_all()

    def _trim(self, allowed: int) -> None:
        for size in list(self._idle):
            while self._idle[size] and self._idle_bytes > allowed:
                self._idle[size].popleft()
                self._idle_bytes -= self._room(size)
            if not self._idle[size]:
                del self._idle[size]
