"""Where a reader's bytes come from: host memory, then local disk, then the object store.

Before them comes the device, with decoded tensors (``read/device_cache.py``). Each tier here keeps
encoded blocks within a byte limit, least recently used out first, and asks the one below. Blocks
are named by immutable keys, so that nothing is ever stale; whether they are whole is checked by the
reader, frame by frame, and a bad one is forgotten by every tier.
"""

import hashlib
import logging
import secrets
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from storage.objects.objects import ObjectStore
from workers.artifacts.cost_model import CostModel, ThroughputMeter
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.read.plan import Block

log = logging.getLogger("retake.artifacts")


class Blocks(Protocol):
    """Thread-safe."""

    def read(self, block: Block) -> memoryview:
        """The block's bytes, not to be written to; raises ObjectMissing, ObjectStoreError."""

    def forget(self, block: Block) -> None:
        """Do not give these bytes again: they are damaged."""


class ObjectBlocks:
    """The last tier: one ranged request per block, whose throughput is measured."""

    def __init__(self, objects: ObjectStore, memory: HostBufferCache, costs: CostModel) -> None:
        self._objects = objects
        self._memory = memory
        self._throughput = ThroughputMeter(costs)

    def read(self, block: Block) -> memoryview:
        data = self._memory.take(block.size).data
        with self._throughput.moving(block.size):
            self._objects.read_into(block.key, block.offset, data)
        return data.toreadonly()

    def forget(self, block: Block) -> None:
        pass


class HostBlocks:
    def __init__(self, below: Blocks, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.hits = self.misses = 0
        self._below = below
        self._held: OrderedDict[Block, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, block: Block) -> memoryview:
        with self._lock:
            if block in self._held:
                self.hits += 1
                self._held.move_to_end(block)
                return self._held[block]
            self.misses += 1
        data = self._below.read(block)
        with self._lock:
            if block not in self._held and block.size <= self.limit_bytes:
                self._held[block] = data
                self.held_bytes += block.size
            while self.held_bytes > self.limit_bytes:
                self.held_bytes -= self._held.popitem(last=False)[0].size
        return data

    def forget(self, block: Block) -> None:
        with self._lock:
            if self._held.pop(block, None) is not None:
                self.held_bytes -= block.size
        self._below.forget(block)


class DiskBlocks:
    """Files in ``folder``, which is this process's alone; what it held before is used again.

    A disk that is full or broken costs the tier, never the job.
    """

    def __init__(self, below: Blocks, folder: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.hits = self.misses = 0
        self._below = below
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.tmp"):
            path.unlink(missing_ok=True)
        found = sorted((path.stat().st_mtime, path) for path in folder.glob("*.block"))
        self._held = OrderedDict((path.name, path.stat().st_size) for _, path in found)
        self.held_bytes = sum(self._held.values())

    def read(self, block: Block) -> memoryview:
        name = _file_name(block)
        with self._lock:
            if known := name in self._held:
                self._held.move_to_end(name)
        if known and (data := self._load(name, block.size)) is not None:
            self.hits += 1
            return data
        self.misses += 1
        below = self._below.read(block)
        self._keep(name, below)
        return below

    def forget(self, block: Block) -> None:
        self._drop(_file_name(block))
        self._below.forget(block)

    def _load(self, name: str, size: int) -> memoryview | None:
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            log.warning("disk cache: not read (%s)", type(error).__name__)
            data = b""
        if len(data) == size:
            return memoryview(data)
        self._drop(name)
        return None

    def _keep(self, name: str, data: memoryview) -> None:
        if data.nbytes > self.limit_bytes:
            return
        temporary = self._folder / f"{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_bytes(data)
            temporary.replace(self._folder / name)
        except OSError as error:
            log.warning("disk cache: not kept (%s)", type(error).__name__)
            temporary.unlink(missing_ok=True)
            return
        with self._lock:
            self.held_bytes += data.nbytes - self._held.pop(name, 0)
            self._held[name] = data.nbytes
            over = []
            while self.held_bytes > self.limit_bytes:
                old, size = self._held.popitem(last=False)
                self.held_bytes -= size
                over.append(old)
        for old in over:
            (self._folder / old).unlink(missing_ok=True)

    def _drop(self, name: str) -> None:
        with self._lock:
            self.held_bytes -= self._held.pop(name, 0)
        (self._folder / name).unlink(missing_ok=True)


def _file_name(block: Block) -> str:
    return hashlib.sha256(repr(tuple(block)).encode()).hexdigest() + ".block"
