"""The layouts of ``device_layout`` in one Triton kernel a tensor, the same to the bit.

torch runs each operation of a layout over the whole tensor: zipnn's moves 29 bytes a value, and
int8's more, where 4 and 5 will do. At Wan 1.3B's 5.6 GiB of hidden states a step that was 3 to 5%
of the step. A packed tensor is as dear as the copy that a capture would have to make anyway.

Triton comes with torch's builds for GPUs and compiles at the first call, for the current device.
This module is imported only there. Kernels' arguments have no types: it would read them as its own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import triton
import triton.language as tl
from torch import Tensor

from schemas.attention import CodecName
from workers.artifacts.codecs.device_layout import DeviceLayout, Levels, Planes

ROWS, COLUMNS, VALUES = 128, 64, 4096  # of one program's tile, or of its run of values
_TINY = tl.constexpr(torch.finfo(torch.float32).tiny)
_ROUNDER = tl.constexpr(1.5 * 2**23)  # added to a small float32, it leaves no bits behind the point
_LAUNCHING = threading.Lock()


class FusedLevels(Levels):
    def pack(self, rows: Tensor, frame_rows: int) -> Tensor:
        packed, (total, width) = self.empty(rows, frame_rows), rows.shape
        heads, levels = packed.view(torch.float32), packed.view(torch.int8)
        geometry = total, width, frame_rows, packed.shape[1]
        with _launching_on(rows):
            # fused, the product and what rounds it would be rounded once
            _pack_levels[len(packed) * triton.cdiv(width, COLUMNS),](
                rows.contiguous(), heads, levels, *geometry, ROWS, COLUMNS, enable_fp_fusion=False
            )
        return packed

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        scales, levels = self._views(packed, out.shape[1])
        rows, width = out.shape
        with _launching_on(out):
            _unpack_levels[triton.cdiv(rows, ROWS) * triton.cdiv(width, COLUMNS),](
                scales, levels, out, rows, width, ROWS, COLUMNS
            )


class FusedPlanes(Planes):
    def pack(self, rows: Tensor, frame_rows: int) -> Tensor:
        packed, (total, width) = self.empty(rows, frame_rows), rows.shape
        bits, values = rows.contiguous().view(torch.int16), min(frame_rows, total) * width
        factor = 16 if width % 16 == 0 else 1  # of the values of any frame: whole words at once
        with _launching_on(rows):
            _pack_planes[len(packed) * triton.cdiv(values, VALUES),](
                bits, packed, total * width, values, packed.shape[1], VALUES, factor
            )
        return packed

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        with _launching_on(out):
            _unpack_planes[triton.cdiv(out.numel(), VALUES),](
                packed, out.view(torch.int16), out.numel(), VALUES
            )


FUSED: dict[CodecName, DeviceLayout] = {"int8": FusedLevels(), "zipnn": FusedPlanes()}


@contextmanager
def _launching_on(tensor: Tensor) -> Iterator[None]:
    """One thread at a time: a kernel that another thread is still loading cannot be launched."""
    with _LAUNCHING, torch.cuda.device_of(tensor):
        yield


@triton.jit
def _tile(start, count, columns, width, ROWS: tl.constexpr):
    """Where the values of some rows and columns are, and which of them there are."""
    places = start + tl.arange(0, ROWS)
    at = places[:, None] * width + columns[None, :]
    return at, (places < count)[:, None] & (columns < width)[None, :]


@triton.jit(do_not_specialize=["total", "frame_rows"])
def _pack_levels(
    rows,  # (total, width)
    heads,  # the frames' bytes as float32, and as int8
    levels,
    total,
    width,
    frame_rows,
    stride,  # from one frame to the next, in bytes
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One program: some columns of one frame; the second pass finds them in the L2 cache."""
    across = tl.cdiv(width, COLUMNS)
    frame = (tl.program_id(0) // across).to(tl.int64)
    columns = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    count = tl.minimum(frame_rows, total - frame * frame_rows).to(tl.int32)
    rows += frame * frame_rows * width
    heads += frame * (stride // 4)
    levels += frame * stride + 4 * width

    peaks = tl.zeros([COLUMNS], tl.int32)
    for start in range(0, count, ROWS):
        at, inside = _tile(start, count, columns, width, ROWS)
        values = tl.load(rows + at, mask=inside, other=0.0).to(tl.float32)
        # magnitudes in the order of their bits, in which what is not a number is the largest
        magnitudes = values.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        peaks = tl.maximum(peaks, tl.max(magnitudes, axis=0))
    scales = tl.div_rn(peaks.to(tl.float32, bitcast=True), tl.full([COLUMNS], 127.0, tl.float32))
    tl.store(heads + columns, scales, mask=columns < width)

    divisors = tl.where(scales > _TINY, scales, 1.0)
    inverse = tl.div_rn(tl.full([COLUMNS], 1.0, tl.float32), divisors)
    for start in range(0, count, ROWS):
        at, inside = _tile(start, count, columns, width, ROWS)
        values = tl.load(rows + at, mask=inside, other=0.0).to(tl.float32)
        rounded = (values * inverse[None, :] + _ROUNDER) - _ROUNDER  # halves to even
        tl.store(levels + at, rounded.to(tl.int8), mask=inside)


@triton.jit(do_not_specialize=["count"])
def _unpack_levels(
    scales,  # (width,) float32
    levels,  # (count, width) int8
    out,  # (count, width)
    count,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    across = tl.cdiv(width, COLUMNS)
    columns = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    at, inside = _tile(tl.program_id(0) // across * ROWS, count, columns, width, ROWS)
    factors = tl.load(scales + columns, mask=columns < width, other=0.0)
    values = tl.load(levels + at, mask=inside, other=0).to(tl.float32) * factors[None, :]
    tl.store(out + at, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _pack_planes(
    rows,  # (total,) int16
    packed,  # (frames, stride)
    total,
    frame_values,
    stride,
    VALUES: tl.constexpr,
    FACTOR: tl.constexpr,
):
    runs = tl.cdiv(frame_values, VALUES)
    frame = (tl.program_id(0) // runs).to(tl.int64)
    places = tl.program_id(0) % runs * VALUES + tl.arange(0, VALUES)
    count = tl.minimum(frame_values, total - frame * frame_values).to(tl.int32)
    count = tl.multiple_of(count, FACTOR)
    inside = places < count
    bits = tl.load(rows + frame * frame_values + places, mask=inside, other=0).to(tl.int32)
    packed += frame * stride
    tl.store(packed + places, (bits >> 7).to(tl.uint8), mask=inside)
    tl.store(packed + count + places, ((bits << 1) | ((bits >> 15) & 1)).to(tl.uint8), mask=inside)


@triton.jit
def _unpack_planes(packed, out, count, VALUES: tl.constexpr):
    """``packed``: (2, count); ``out``: (count,) int16."""
    places = tl.program_id(0) * VALUES + tl.arange(0, VALUES)
    inside = places < count
    upper = tl.load(packed + places, mask=inside, other=0).to(tl.int32)
    lower = tl.load(packed + count + places, mask=inside, other=0).to(tl.int32)
    tl.store(out + places, ((upper << 7) | (lower >> 1) | (lower << 15)).to(tl.int16), mask=inside)
