"""Loading one tensor: fetch its blocks, check and decode its frames, bring it to the device."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from schemas.errors import ArtifactCorrupt
from storage.objects.objects import ObjectMissing, ObjectTruncated
from storage.retry import OBJECT_STORE, retry
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.read.plan import Block, Piece, TensorPlan
from workers.artifacts.read.tensor_assembler import DeviceAssembler, HostAssembler, TensorAssembler
from workers.artifacts.read.tiers import Blocks


class Loader:
    """The threads of one reader. ``fetch`` and ``load`` return at once."""

    def __init__(
        self,
        blocks: Blocks,
        memory: HostBufferCache,
        device: torch.device,
        *,
        fetch_threads: int,
        decode_threads: int,
        patience_s: float,
    ) -> None:
        self.device = device
        self._blocks = blocks
        self._memory = memory
        self._patience_s = patience_s
        self._stopped = threading.Event()
        self._fetchers = ThreadPoolExecutor(fetch_threads, thread_name_prefix="artifact-fetch")
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="artifact-decode")
        self._side = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
            if device.type == "cuda"
            else None
        )

    def fetch(self, block: Block) -> "Future[memoryview]":
        return self._fetchers.submit(self._read, block)

    def load(self, plan: TensorPlan, fetched: Callable[[Block], "Future[memoryview]"]) -> "Load":
        """Begin; ``fetched`` gives the future bytes of a block."""
        assembler: TensorAssembler
        if self._side is not None:
            assembler = DeviceAssembler(plan, self.device, self._side)
        else:
            assembler = HostAssembler(plan, self._memory, self.device)
        parts = [
            self._decoders.submit(self._decode, assembler, piece, fetched(piece.block))
            for piece in plan.pieces
        ]
        return Load(assembler, parts)

    def close(self) -> None:
        self._stopped.set()
        self._fetchers.shutdown(wait=True, cancel_futures=True)
        self._decoders.shutdown(wait=True, cancel_futures=True)

    def _read(self, block: Block) -> memoryview:
        try:
            return retry(
                lambda: self._blocks.read(block),
                OBJECT_STORE,
                self._patience_s,
                what=f"pack={block.key} download",
                stopped=self._stopped,
            )
        except (ObjectMissing, ObjectTruncated):
            raise ArtifactCorrupt("a pack of the artifact is missing or cut short") from None

    def _decode(self, assembler: TensorAssembler, piece: Piece, data: "Future[memoryview]") -> None:
        block, frame = piece
        start = frame.offset - block.offset
        try:
            assembler.land(frame, data.result()[start : start + frame.size])
        except ArtifactCorrupt:
            # once more from the store itself: a tier or the way here may have done it
            self._blocks.forget(block)
            assembler.land(frame, self._read(block)[start : start + frame.size])


class Load(NamedTuple):
    """One tensor on its way."""

    assembler: TensorAssembler
    parts: list["Future[None]"]

    def result(self) -> Tensor:
        """Waits; raises ArtifactCorrupt, ObjectStoreError."""
        for part in self.parts:
            part.result()
        return self.assembler.tensor()

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()
