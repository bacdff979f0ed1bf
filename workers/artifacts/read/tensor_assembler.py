"""Puts a tensor together from its frames: in host memory, or on a device by way of pinned memory.

An assembler is filled by several threads, a frame at a time, and never used twice: its tensor
belongs to the caller.
"""

import threading
from typing import Protocol

import torch
from torch import Tensor

from schemas.artifacts import Frame
from workers.artifacts.codecs.codec import decode, decode_packed
from workers.artifacts.codecs.device_layout import DeviceLayout
from workers.artifacts.codecs.layout_registry import device_layout_of
from workers.artifacts.codecs.tensors import DTYPES, as_array, as_rows, empty
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.read.plan import TensorPlan


class TensorAssembler(Protocol):
    def land(self, frame: Frame, data: memoryview) -> None:
        """Decode ``data`` into the frame's rows; raises ArtifactCorrupt."""

    def tensor(self) -> Tensor:
        """The whole, for the current stream, once all frames are down."""
        ...


class HostAssembler:
    def __init__(self, plan: TensorPlan, memory: HostBufferCache, device: torch.device) -> None:
        self._device = device
        self._tensor, data = empty(plan.shape, plan.dtype, memory)
        self._array = as_array(data, plan.dtype, plan.shape[-1] if plan.shape else 1)

    def land(self, frame: Frame, data: memoryview) -> None:
        decode(frame, data, self._array[slice(*frame.rows)])

    def tensor(self) -> Tensor:
        return self._tensor.to(self._device)


class DeviceAssembler:
    """Each frame is decoded into page-locked memory and copied from there on the stream ``side``.

    So there is page-locked memory for the frames under way, not for tensors: torch hands out the
    same few buffers again as soon as their copies are done. Packed frames are unpacked there.
    ``side``: None where the device is a CPU, for tests.
    """

    def __init__(
        self, plan: TensorPlan, device: torch.device, side: torch.cuda.Stream | None
    ) -> None:
        self._plan, self._device, self._side = plan, device, side
        self._lock = threading.Lock()
        self._tensor: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def land(self, frame: Frame, data: memoryview) -> None:
        with torch.cuda.stream(self._side):
            packing = device_layout_of(frame.codec, DTYPES[frame.dtype], self._device)
            staged = self._stage(frame, data, packing)
            with self._lock:  # the last event is of the last copy
                if self._tensor is None:
                    dtype = DTYPES[self._plan.dtype]
                    self._tensor = torch.empty(self._plan.shape, dtype=dtype, device=self._device)
                rows = as_rows(self._tensor)[slice(*frame.rows)]
                if packing is None:
                    rows.copy_(staged.view(rows.dtype).view(rows.shape), non_blocking=True)
                else:
                    packing.unpack(staged.to(self._device, non_blocking=True), rows)
                if self._side is not None:
                    self._arrived = self._side.record_event()

    def tensor(self) -> Tensor:
        assert self._tensor is not None
        if self._arrived is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._arrived)
            self._tensor.record_stream(stream)
        return self._tensor

    def _stage(self, frame: Frame, data: memoryview, packing: DeviceLayout | None) -> Tensor:
        """The frame's rows, or what is unpacked to them, as bytes on the host: uint8."""
        size = frame.decoded_bytes
        if packing is not None:
            size = packing.size(frame.rows[1] - frame.rows[0], frame.width)
        staged = torch.empty(size, dtype=torch.uint8, pin_memory=self._side is not None)
        if packing is None:
            decode(frame, data, as_array(staged, frame.dtype, frame.width))
        else:
            decode_packed(frame, data, staged.numpy())
        return staged
