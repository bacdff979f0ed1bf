"""Loading one tensor: fetch its blocks, check and decode its frames, bring it to the device."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from schemas.errors import ArtifactCorrupt
from storage.objects import ObjectMissing, ObjectTruncated
from workers.artifacts.codec import decode
from workers.artifacts.patience import patiently
from workers.artifacts.plan import Block, Piece, TensorPlan
from workers.artifacts.recycle import Recycler
from workers.artifacts.tensors import as_array, empty
from workers.artifacts.tiers import Blocks


class Loader:
    """The threads of one reader. ``fetch`` and ``load`` return at once."""

    def __init__(
        self,
        blocks: Blocks,
        memory: Recycler,
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
        load = Load(plan, self._memory if self._side is None else None, self._side, self.device)
        for piece in plan.pieces:
            data = fetched(piece.block)
            load.parts.append(self._decoders.submit(self._decode, load, piece, data))
        return load

    def close(self) -> None:
        self._stopped.set()
        self._fetchers.shutdown(wait=True, cancel_futures=True)
        self._decoders.shutdown(wait=True, cancel_futures=True)

    def _read(self, block: Block) -> memoryview:
        try:
            return patiently(lambda: self._blocks.read(block), self._patience_s, self._stopped)
        except (ObjectMissing, ObjectTruncated):
            raise ArtifactCorrupt("a pack of the artifact is missing or cut short") from None

    def _decode(self, load: "Load", piece: Piece, data: "Future[memoryview]") -> None:
        block, frame = piece
        out = load.array[frame.rows[0] : frame.rows[1]]
        start = frame.offset - block.offset
        try:
            decode(frame, data.result()[start : start + frame.size], out)
        except ArtifactCorrupt:
            # once more from the store itself: a tier or the way here may have done it
            self._blocks.forget(block)
            decode(frame, self._read(block)[start : start + frame.size], out)
        load.decoded()


class Load:
    """One tensor on its way; never used twice, so that whoever gets it may do as he likes."""

    def __init__(
        self,
        plan: TensorPlan,
        memory: Recycler | None,
        side: torch.cuda.Stream | None,
        device: torch.device,
    ) -> None:
        self.parts: list[Future[None]] = []
        self._tensor, data = empty(plan.shape, plan.dtype, memory)
        width = plan.shape[-1] if plan.shape else 1
        self.array = as_array(data, plan.dtype, width)
        self._left = len(plan.pieces)
        self._lock = threading.Lock()
        self._side = side
        self._device = device
        self._arrived: torch.cuda.Event | None = None

    def decoded(self) -> None:
        """One more frame is there; with the last, set off for the device."""
        with self._lock:
            self._left -= 1
            if self._left or self._side is None:
                return
        with torch.cuda.stream(self._side):
            self._tensor = self._tensor.to(self._device, non_blocking=True)
            self._arrived = self._side.record_event()

    def result(self) -> Tensor:
        """Waits; raises ArtifactCorrupt, ObjectStoreError."""
        for part in self.parts:
            part.result()
        if self._arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._arrived)
            self._tensor.record_stream(stream)
        return self._tensor if self._side else self._tensor.to(self._device)

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()
