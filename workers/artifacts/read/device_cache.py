"""The first tier: tensors that stay on the device from one edit of a source to the next, decoded
or, of an artifact in form latents, computed again.

An edit reads each tensor once and in order. Over a source larger than the tier, plain LRU would
drop every tensor shortly before the next edit comes round to it, and never be hit. So what an edit
asks for counts as used from its beginning, and only what it does not ask for makes room: of a
larger source the tier keeps the first part, and that part is hit by every edit.
"""

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from schemas.attention import Branch
from workers.artifacts.read.plan import TensorPlan
from workers.attention.maps import Address

log = logging.getLogger("retake.artifacts")


class Key(NamedTuple):
    """``pack``: the key of the object that it begins in, which no other capture ever shares; of
    what was computed, the name that ``Reading.recomputed`` gives it."""

    pack: str
    address: Address
    name: str
    device: torch.device

    @staticmethod
    def of(plan: TensorPlan, device: torch.device) -> "Key":
        return Key(plan.pieces[0].block.key, plan.address, plan.name, device)


@dataclass
class Entry:
    """``reading``: the number of the last one that asked for it."""

    tensor: Tensor
    reading: int


class DeviceTensors:
    """Thread-safe. Keeps up to ``limit_bytes``, on all devices together.

    It keeps copies and gives copies, so that nobody can write into what another edit will read.
    They are made on the stream that denoises and live in its memory, as weights do: no other
    stream ever sees them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.hits = self.misses = 0
        self._held: OrderedDict[Key, Entry] = OrderedDict()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def open(self, plans: Iterable[TensorPlan], device: torch.device) -> "Reading":
        """Begin to read ``plans``, for one edit or map."""
        with self._lock:
            reading = Reading(self, next(self._numbers), device)
            self._use((Key.of(plan, device) for plan in plans), reading.number)
        return reading

    def ask_for(self, pack: str, reading: int) -> None:
        """All that is held of ``pack`` is used by ``reading``."""
        with self._lock:
            self._use([key for key in self._held if key.pack == pack], reading)

    def _use(self, keys: Iterable[Key], reading: int) -> None:
        for key in keys:
            if key in self._held:
                self._held[key].reading = reading
                self._held.move_to_end(key)

    def holds(self, key: Key) -> bool:
        return key in self._held

    def get(self, key: Key) -> Tensor | None:
        with self._lock:
            entry = self._held.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
        return entry.tensor.clone()

    def put(self, key: Key, tensor: Tensor, reading: int) -> None:
        """Keep a copy, if there is room beside what this reading and later ones asked for."""
        with self._lock:
            if key in self._held or not self._make_room(tensor.nbytes, reading):
                return
            try:
                copy = tensor.clone()
            except torch.OutOfMemoryError:
                log.warning("device cache: emptied, the device is full; lower device_cache_bytes")
                self._clear()
                return
            self._held[key] = Entry(copy, reading)
            self.held_bytes += copy.nbytes

    def forget(self, folder: str) -> None:
        """Drop what an artifact has here: it is damaged, or being deleted."""
        with self._lock:
            for key in [key for key in self._held if key.pack.startswith(f"{folder}/")]:
                self._drop(key)

    def clear(self) -> bool:
        """Give all memory back to the device's allocator; whether there was any."""
        with self._lock:
            return self._clear()

    def _clear(self) -> bool:
        held, self.held_bytes = bool(self._held), 0
        self._held.clear()
        return held

    def _make_room(self, size: int, reading: int) -> bool:
        if size > self.limit_bytes:
            return False
        while self.held_bytes + size > self.limit_bytes:
            oldest = next(iter(self._held))
            if self._held[oldest].reading >= reading:
                return False
            self._drop(oldest)
        return True

    def _drop(self, key: Key) -> None:
        self.held_bytes -= self._held.pop(key).tensor.nbytes


class Reading(NamedTuple):
    """The tier, as one reader sees it."""

    tier: DeviceTensors
    number: int
    device: torch.device

    def holds(self, plan: TensorPlan) -> bool:
        return self.tier.holds(Key.of(plan, self.device))

    def get(self, plan: TensorPlan, load: Callable[[], Tensor]) -> Tensor:
        """The caller's own: a copy of what is held, else what ``load`` gives, which is kept."""
        key = Key.of(plan, self.device)
        tensor = self.tier.get(key)
        if tensor is None:
            tensor = load()
            self.tier.put(key, tensor, self.number)
        return tensor

    def recomputed(self, folder: str, branches: tuple[Branch, ...]) -> "RecomputedTensors":
        """What was computed of the artifact in ``folder`` with these branches in a call: another
        batch rounds otherwise."""
        pack = f"{folder}/recomputed/{'+'.join(branches)}"
        self.tier.ask_for(pack, self.number)
        return RecomputedTensors(self, pack)


class RecomputedTensors(NamedTuple):
    """A TensorCache in the tier."""

    reading: Reading
    pack: str

    def get(self, address: Address, name: str) -> Tensor | None:
        return self.reading.tier.get(self._key(address, name))

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        self.reading.tier.put(self._key(address, name), tensor, self.reading.number)

    def _key(self, address: Address, name: str) -> Key:
        return Key(self.pack, address, name, self.reading.device)
