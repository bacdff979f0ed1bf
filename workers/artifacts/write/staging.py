"""From the model's device to buffers on the host, without making the denoising wait."""

import numpy as np
import torch
from torch import Tensor

from workers.artifacts.codecs.device_layout import DeviceLayout
from workers.artifacts.codecs.tensors import bytes_of


class Staging:
    """For the denoising thread alone."""

    def __init__(self) -> None:
        self._side: torch.cuda.Stream | None = None

    def take(self, rows: Tensor, packing: DeviceLayout | None, frame_rows: int) -> Tensor:
        """What later kernels cannot change, so that the slow way to the host runs beside them.

        ``packing``: frames of ``frame_rows`` rows, packed; None: the rows, of a device copied.
        """
        if packing is not None:
            taken = packing.pack(rows, frame_rows)
        else:
            taken = rows.clone(memory_format=torch.contiguous_format) if rows.is_cuda else rows
        if rows.is_cuda:
            if self._side is None:
                self._side = torch.cuda.Stream(rows.device)  # type: ignore[no-untyped-call]  # torch's
            self._side.wait_stream(torch.cuda.current_stream(rows.device))
            taken.record_stream(self._side)
        return taken

    def copy(self, rows: Tensor, buffer: Tensor) -> torch.cuda.Event | None:
        """Part of what ``take`` gave into ``buffer`` (uint8); the event after which it is there."""
        target = buffer.view(rows.dtype).view(rows.shape)
        if self._side is None:
            # by numpy: torch would wake all its threads, which then spin where others work
            np.copyto(bytes_of(target), bytes_of(rows))
            return None
        with torch.cuda.stream(self._side):
            target.copy_(rows, non_blocking=True)
            copied: torch.cuda.Event = self._side.record_event()
            return copied
