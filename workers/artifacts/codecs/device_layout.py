"""The arithmetic of codecs where the tensor is: on a GPU it costs little, on the host's cores most.

It is what ``Int8`` and ``ZipNN`` do with numpy, done by torch to the bit. A packed frame is what
the codec's frame holds before its entropy coding, as one run of bytes; the host codes and decodes
those alone, in few and long calls that leave Python's lock to the denoising.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
_LEVELS = 127.0
_SCALE_BYTES = 4
_ALIGNED = 16  # bytes: frames begin at their multiples, so that kernels move whole words


class DeviceLayout(ABC):
    """``rows`` and ``out``: (n, width) of one of ``dtypes``. ``packed``: uint8."""

    dtypes: tuple[torch.dtype, ...]

    @abstractmethod
    def size(self, rows: int, width: int) -> int:
        """Bytes of one packed frame."""

    @abstractmethod
    def pack_frame(self, rows: Tensor, packed: Tensor) -> None:
        """``packed``: of ``size`` bytes."""

    @abstractmethod
    def unpack(self, packed: Tensor, out: Tensor) -> None: ...

    def pack(self, rows: Tensor, frame_rows: int) -> Tensor:
        """Frames of ``frame_rows`` rows each, the last of what is left: (frames, bytes), uint8.

        Of each row of bytes the first ``size`` are the frame. Nothing is a view of ``rows``.
        """
        packed = self.empty(rows, frame_rows)
        for number, frame in enumerate(packed):
            part = rows[number * frame_rows : (number + 1) * frame_rows]
            self.pack_frame(part, frame[: self.size(*part.shape)])
        return packed

    def empty(self, rows: Tensor, frame_rows: int) -> Tensor:
        """What ``pack`` fills."""
        total, width = rows.shape
        size = self.size(min(frame_rows, total), width)
        shape = -(-total // frame_rows), -(-size // _ALIGNED) * _ALIGNED
        return torch.empty(shape, dtype=torch.uint8, device=rows.device)


class Levels(DeviceLayout):
    """Of int8: ``width`` float32 scales, then rows·width levels.

    Each operation is one that IEEE 754 rounds in one way. Scales that are not finite tell of
    values that are not.
    """

    dtypes = _FLOATS

    def size(self, rows: int, width: int) -> int:
        return _SCALE_BYTES * width + rows * width

    def pack_frame(self, rows: Tensor, packed: Tensor) -> None:
        scales, levels = self._views(packed, rows.shape[1])
        peaks = torch.maximum(rows.amax(0), -rows.amin(0)).abs().float()
        # by a tensor: CUDA divides by a number as a product with its reciprocal, rounded twice
        torch.div(peaks, torch.full_like(peaks, _LEVELS), out=scales)
        tiny = torch.finfo(torch.float32).tiny
        inverse = torch.where(scales > tiny, scales, torch.ones_like(scales)).reciprocal()
        # no value leaves the levels: the largest comes to 127 (1 + 2^-22) at most
        levels.copy_((rows * inverse).round_())

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        scales, levels = self._views(packed, out.shape[1])
        torch.mul(levels, scales, out=out)  # in float32, rounded once more into ``out``

    def _views(self, packed: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Scales (width,) float32 and levels (n, width) int8 in the memory of ``packed``."""
        head = _SCALE_BYTES * width
        return packed[:head].view(torch.float32), packed[head:].view(torch.int8).view(-1, width)


class Planes(DeviceLayout):
    """Of zipnn, for floats of 16 bits: the bits behind the sign's, then the others with the sign.

    Of x in bits s e…e m…m the first plane has the upper byte of x rotated left by one, the second
    the lower. Casts to uint8 drop what lies above.
    """

    dtypes = (torch.bfloat16, torch.float16)

    def size(self, rows: int, width: int) -> int:
        return 2 * rows * width

    def pack_frame(self, rows: Tensor, packed: Tensor) -> None:
        upper, lower = packed.view(2, *rows.shape)
        bits = rows.view(torch.int16)
        upper.copy_(bits >> 7)
        lower.copy_((bits << 1) | ((bits >> 15) & 1))

    def unpack(self, packed: Tensor, out: Tensor) -> None:
        upper, lower = packed.view(2, *out.shape).to(torch.int16)
        out.view(torch.int16).copy_((upper << 7) | (lower >> 1) | (lower << 15))
