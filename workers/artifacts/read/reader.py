"""Store to edit: the source's tensors, fetched and decoded ahead of the denoising.

Each branch of the source is a lane that is walked forwards. Ahead of the place where the
denoising is, items are loaded until they hold their share of ``window_bytes``; what the denoising
has gone past is dropped. What is asked for out of turn is loaded on the spot. What the device
still has from an earlier edit is not loaded at all.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from schemas.artifacts import Manifest
from schemas.attention import Branch
from schemas.capture_plan import Needed
from schemas.errors import ArtifactCorrupt, ArtifactMissing
from workers.artifacts.cost_model import CostModel, StepClock
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.read.device_cache import DeviceTensors, Reading
from workers.artifacts.read.load import Load, Loader
from workers.artifacts.read.plan import Block, Item, TensorPlan, plan_reads
from workers.artifacts.read.tiers import Blocks
from workers.artifacts.settings import ArtifactSettings
from workers.attention.maps import Address, TensorCache

log = logging.getLogger("retake.artifacts")


class Lane:
    """For the denoising thread alone."""

    def __init__(
        self, items: list[Item], loader: Loader, device: Reading, limit_bytes: int
    ) -> None:
        self.late = 0  # how often the denoising had to begin a load itself
        self._items = items
        self._loader = loader
        self._device = device
        self._limit_bytes = limit_bytes
        self._places: dict[tuple[Address, str], list[int]] = {}
        for place, item in enumerate(items):
            for name in item.tensors:
                self._places.setdefault((item.address, name), []).append(place)
        self._next = 0  # the first item not begun
        self._at = 0  # where the denoising is
        self._begun: dict[int, dict[str, Load]] = {}
        self._held_bytes = 0
        self._blocks: dict[Block, Future[memoryview]] = {}
        self._ahead()

    def get(self, address: Address, name: str) -> Tensor:
        places = self._places.get((address, name), [])
        if not places:
            raise ArtifactMissing(
                f"the artifact holds no {name} of step {address.step}, "
                f"branch {address.branch}, layer {address.layer}"
            )
        place = next((place for place in places if place >= self._at), None)
        if place is not None:
            self._go_to(place)
        plan = self._items[places[0]].tensors[name]
        return self._device.get(plan, lambda: self._load(plan, place))

    def _go_to(self, place: int) -> None:
        while self._at < place:
            self._drop(self._at)
            self._at += 1
        self._ahead()

    def _load(self, plan: TensorPlan, place: int | None) -> Tensor:
        load = self._begun.get(place, {}).pop(plan.name, None) if place is not None else None
        if load is None:  # given before, or held on the device until just now
            return self._at_once(plan)
        tensor = load.result()
        self._held_bytes -= plan.held_bytes
        self._ahead()
        return tensor

    def _at_once(self, plan: TensorPlan) -> Tensor:
        self.late += 1
        return self._loader.load(plan, self._loader.fetch).result()

    def _ahead(self) -> None:
        """Begin what fits; always the item that the denoising is at."""
        self._next = max(self._next, self._at)
        while self._next < len(self._items):
            every = self._items[self._next].tensors.values()
            plans = [plan for plan in every if not self._device.holds(plan)]
            size_bytes = sum(plan.held_bytes for plan in plans)
            full = self._held_bytes + size_bytes > self._limit_bytes
            if full and self._next > self._at:
                return
            if plans:
                self._begun[self._next] = self._begin(plans)
            self._held_bytes += size_bytes
            self._next += 1

    def _begin(self, plans: list[TensorPlan]) -> dict[str, Load]:
        # items share blocks with their neighbours only: those behind are read
        wanted = {piece.block for plan in plans for piece in plan.pieces}
        self._blocks = {block: self._blocks[block] for block in wanted & set(self._blocks)}
        return {plan.name: self._loader.load(plan, self._fetch) for plan in plans}

    def _fetch(self, block: Block) -> "Future[memoryview]":
        if block not in self._blocks:
            self._blocks[block] = self._loader.fetch(block)
        return self._blocks[block]

    def _drop(self, place: int) -> None:
        for name, load in self._begun.pop(place, {}).items():
            load.cancel()
            self._held_bytes -= self._items[place].tensors[name].held_bytes


class ArtifactReader:
    """A MapSource. Not for several threads. ``on_damage``: called when a checksum is wrong."""

    def __init__(
        self,
        blocks: Blocks,
        memory: HostBufferCache,
        tensors: DeviceTensors,
        manifest: Manifest,
        needed: Needed,
        device: torch.device,
        settings: ArtifactSettings,
        *,
        costs: CostModel,
        on_damage: Callable[[Manifest], None],
        on_close: Callable[[], None],
    ) -> None:
        self.manifest = manifest
        self._on_damage = on_damage
        self._on_close = on_close
        self._clock = StepClock(costs, manifest.recipe.generation)
        plan = plan_reads(manifest, needed, settings.window_bytes)
        self._loader = Loader(
            blocks,
            memory,
            device,
            fetch_threads=settings.fetch_threads,
            decode_threads=settings.decode_threads,
            patience_s=settings.store_patience_s,
        )
        self._device = tensors.open(plan.tensors(), device)
        self._constants = plan.constants
        self._loaded: dict[tuple[Address, str], Tensor] = {}
        share = settings.window_bytes // max(1, len(plan.lanes))
        self._lanes = {
            branch: Lane(items, self._loader, self._device, share)
            for branch, items in plan.lanes.items()
        }

    def get(self, address: Address, name: str) -> Tensor:
        """On the device, and the caller's own; raises ArtifactMissing, ArtifactCorrupt,
        ObjectStoreError."""
        if self.manifest.form != "latents":  # those make the steps longer themselves
            self._clock.at(address.step)
        began = time.monotonic()
        try:
            if (address, name) in self._constants:
                return self._constant(address, name)
            lane = self._lanes.get(address.branch)
            if lane is None:
                raise ArtifactMissing(f"the artifact holds nothing of branch {address.branch}")
            return lane.get(address, name)
        except ArtifactCorrupt as error:
            log.error("artifact=%s corrupt: %s", self.manifest.folder, error.message)
            self._on_damage(self.manifest)
            raise
        finally:
            self._clock.add_wait(time.monotonic() - began)

    def recomputed(self, branches: tuple[Branch, ...]) -> TensorCache:
        """What the device still has that earlier edits computed of this artifact's latents."""
        return self._device.recomputed(self.manifest.folder, branches)

    def close(self) -> None:
        """Stop reading ahead; safe to call again."""
        self._loader.close()
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _constant(self, address: Address, name: str) -> Tensor:
        if (address, name) not in self._loaded:
            plan = self._constants[address, name]
            self._loaded[address, name] = self._device.get(
                plan, lambda: self._loader.load(plan, self._loader.fetch).result()
            )
        return self._loaded[address, name].clone()
