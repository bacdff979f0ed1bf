"""From the model's device to buffers on the host, without making the denoising wait."""

import numpy as np
import torch
from torch import Tensor

from workers.artifacts.packing import Packing
from workers.artifacts.tensors import bytes_of


class Staging:
    """For the denoising thread alone."""

    def __init__(self) -> None:
        self._side: torch.cuda.Stream | None = None

    def hold(self, rows: Tensor) -> Tensor:
        """On a device: a copy that later kernels cannot change, so that the slow way to the host
        runs beside them. On the host: ``rows`` itself."""
        if not rows.is_cuda:
            return rows
        if self._side is None:
            self._side = torch.cuda.Stream(rows.device)  # type: ignore[no-untyped-call]  # torch's
        copy = rows.clone(memory_format=torch.contiguous_format)
        self._side.wait_stream(torch.cuda.current_stream(rows.device))
        copy.record_stream(self._side)
        return copy

    def pack(self, rows: Tensor, packing: Packing | None) -> Tensor:
        """A part of what ``hold`` gave, packed beside the denoising; None: as it is."""
        if packing is None:
            return rows
        with torch.cuda.stream(self._side):
            return packing.pack(rows)

    def copy(self, rows: Tensor, buffer: Tensor) -> torch.cuda.Event | None:
        """``rows``, contiguous on a device, into ``buffer`` (uint8); the event after which they
        are there."""
        target = buffer.view(rows.dtype).view(rows.shape)
        if self._side is None:
            # by numpy: torch would wake all its threads, which then spin where others work
            np.copyto(bytes_of(target), bytes_of(rows))
            return None
        with torch.cuda.stream(self._side):
            target.copy_(rows, non_blocking=True)
            copied: torch.cuda.Event = self._side.record_event()
            return copied
