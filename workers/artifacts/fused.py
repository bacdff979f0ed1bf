"""``packing`` in one kernel a tensor, in Triton, and to the bit the same.

torch runs each operation of a packing over the whole tensor: zipnn's moves 29 bytes a value, and
int8's more, where 4 and 5 will do. At Wan 1.3B's 5.6 GiB of hidden states a step that was 3 to 5%
of the step. A packed tensor is as dear as the copy that a capture would have to make anyway.

Triton comes with torch's builds for GPUs and compiles at the first call, for the current device.
This module is imported only there. Kernels' arguments have no types: it would read them as its own.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.artifacts.packing import Levels, Planes

_ROWS, _COLUMNS, _VALUES = 128, 64, 4096  # of one program's tile, or of its run of values
_TINY = tl.constexpr(torch.finfo(torch.float32).tiny)
_ROUNDER = tl.constexpr(1.5 * 2**23)  # added to a small float32, it leaves no bits behind the point


class FusedLevels(Levels):
    def pack(self, rows: Tensor, frame_rows: int) -> Tensor:
        packed, (total, width) = self.empty(rows, frame_rows), rows.shape
        grid = triton.cdiv(width, _COLUMNS), len(packed)
        heads, levels = packed.view(torch.float32), packed.view(torch.int8)
        geometry = total, width, frame_rows, packed.shape[1]
        with torch.cuda.device_of(rows):
            # fused, the product and what rounds it would be rounded once
            _pack_levels[grid](
                rows.contiguous(), heads, levels, *geometry, _ROWS, _COLUMNS, enable_fp_fusion=False
            )
        return packed

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        scales, levels = self._views(packed, out.shape[1])
        rows, width = out.shape
        grid = triton.cdiv(width, _COLUMNS), triton.cdiv(rows, _ROWS)
        with torch.cuda.device_of(out):
            _unpack_levels[grid](scales, levels, out, rows, width, _ROWS, _COLUMNS)


class FusedPlanes(Planes):
    def pack(self, rows: Tensor, frame_rows: int) -> Tensor:
        packed, (total, width) = self.empty(rows, frame_rows), rows.shape
        grid = triton.cdiv(min(frame_rows, total) * width, _VALUES), len(packed)
        bits = rows.contiguous().view(torch.int16)
        factor = 16 if width % 16 == 0 else 1  # of the values of any frame: whole words at once
        with torch.cuda.device_of(rows):
            _pack_planes[grid](
                bits, packed, total * width, frame_rows * width, packed.shape[1], _VALUES, factor
            )
        return packed

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        with torch.cuda.device_of(out):
            _unpack_planes[triton.cdiv(out.numel(), _VALUES),](
                packed, out.view(torch.int16), out.numel(), _VALUES
            )


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
    frame = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    count = tl.minimum(frame_rows, total - frame * frame_rows).to(tl.int32)
    rows += frame * frame_rows * width
    heads += frame * (stride // 4)
    levels += frame * stride + 4 * width

    peaks = tl.zeros([COLUMNS], tl.int32)
    for start in range(0, count, ROWS):
        places = start + tl.arange(0, ROWS)
        inside = (places < count)[:, None] & (columns < width)[None, :]
        at = places[:, None] * width + columns[None, :]
        values = tl.load(rows + at, mask=inside, other=0.0).to(tl.float32)
        # magnitudes in the order of their bits, in which what is not a number is the largest
        magnitudes = values.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        peaks = tl.maximum(peaks, tl.max(magnitudes, axis=0))
    scales = tl.div_rn(peaks.to(tl.float32, bitcast=True), tl.full([COLUMNS], 127.0, tl.float32))
    tl.store(heads + columns, scales, mask=columns < width)

    divisors = tl.where(scales > _TINY, scales, 1.0)
    inverse = tl.div_rn(tl.full([COLUMNS], 1.0, tl.float32), divisors)
    for start in range(0, count, ROWS):
        places = start + tl.arange(0, ROWS)
        inside = (places < count)[:, None] & (columns < width)[None, :]
        at = places[:, None] * width + columns[None, :]
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
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    places = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = (places < count)[:, None] & (columns < width)[None, :]
    at = places[:, None] * width + columns[None, :]
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
    frame = tl.program_id(1).to(tl.int64)
    places = tl.program_id(0) * VALUES + tl.arange(0, VALUES)
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
