"""Codec int8's arithmetic where the tensor is: on a GPU it costs little, on the host's cores most.

What ``Int8`` does with numpy, done by torch to the bit: each operation is one that IEEE 754 rounds
in one way. A frame that is packed this way is ``width`` float32 scales, then rows·width levels, one
run of bytes: what an int8 frame holds before its entropy coding.
"""

import torch
from torch import Tensor

_LEVELS = 127.0
_SCALE_BYTES = 4


def packed_bytes(rows: int, width: int) -> int:
    return _SCALE_BYTES * width + rows * width


def quantise(rows: Tensor) -> Tensor:
    """Floats (n, width), packed: uint8. Scales that are not finite tell of values that are not."""
    count, width = rows.shape
    packed = torch.empty(packed_bytes(count, width), dtype=torch.uint8, device=rows.device)
    scales, levels = _views(packed, width)
    peaks = torch.maximum(rows.amax(0), -rows.amin(0)).abs().float()
    # by a tensor: CUDA divides by a number as a product with its reciprocal, which rounds twice
    torch.div(peaks, torch.full_like(peaks, _LEVELS), out=scales)
    tiny = torch.finfo(torch.float32).tiny
    inverse = torch.where(scales > tiny, scales, torch.ones_like(scales)).reciprocal()
    # no value leaves the levels: the largest comes to 127 (1 + 2^-22) at most
    levels.copy_((rows * inverse).round_())
    return packed


def dequantise(packed: Tensor, out: Tensor) -> None:
    """What ``quantise`` gave of rows like ``out`` (n, width), to within half a level."""
    scales, levels = _views(packed, out.shape[1])
    torch.mul(levels, scales, out=out)  # in float32, rounded once more into ``out``


def _views(packed: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Scales (width,) float32 and levels (n, width) int8 in the memory of ``packed``."""
    head = _SCALE_BYTES * width
    return packed[:head].view(torch.float32), packed[head:].view(torch.int8).view(-1, width)
