"""Lossless for floats: ZipNN's method (arXiv 2411.05239), entropy-coded by zstd.

A float's sign and mantissa are noise, its exponent is not: so the bits are rotated to put the
exponent into a byte of its own, bytes of equal place are kept together as a plane, and only the
planes that shrink are entropy-coded. The frame is ours, not that of the ``zipnn`` package: the
package holds the GIL while it works (the denoising would stand still), changes its input, and
trusts the lengths in what it decodes. The ratio is the same (bench/codecs.py). Planes of what comes
from or goes to a GPU are split and joined there (``device_layout``).

Layout: for each plane, exponents first, a header ``<BQ`` (1: zstd, 0: plain; bytes); the planes.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.artifacts import Dtype
from schemas.errors import ArtifactCorrupt
from workers.artifacts.codecs.entropy import Bytes, Data, compress, compressible, decompress

_BLOCK = 1 << 17  # values that go through a core's cache together
_HEADER = struct.Struct("<BQ")
# Width in bytes of each plane, most significant first
_PLANES: dict[Dtype, tuple[int, ...]] = {
    "bfloat16": (1, 1),
    "float16": (1, 1),
    "float32": (1, 1, 2),
}


class ZipNN:
    version = 1

    def encode(self, rows: NDArray[Any], dtype: Dtype) -> list[Data]:
        return _encode_planes(_split(rows.reshape(-1), _PLANES[dtype]))

    def decode(self, data: memoryview, out: NDArray[Any], dtype: Dtype) -> None:
        widths = _PLANES.get(dtype)
        if widths is None:
            raise ArtifactCorrupt(f"a zipnn frame of {dtype}")
        _join(_split_frame(data, out.size, widths), widths, out.reshape(-1))

    def encode_packed(self, packed: Bytes, width: int) -> list[Data]:
        return _encode_planes([plane.copy() for plane in np.split(packed, 2)])

    def decode_packed(self, data: memoryview, out: Bytes, width: int) -> None:
        for plane, target in zip(
            _split_frame(data, out.size // 2, (1, 1)), np.split(out, 2), strict=True
        ):
            target[:] = plane


def _encode_planes(planes: list[Bytes]) -> list[Data]:
    """The pieces of a frame."""
    headers, bodies = [], []
    for plane in planes:
        coded: Data = compress(plane) if compressible(plane) else plane.data
        headers.append(_HEADER.pack(isinstance(coded, bytes), memoryview(coded).nbytes))
        bodies.append(coded)
    return [b"".join(headers), *bodies]


def _split_frame(data: memoryview, values: int, widths: tuple[int, ...]) -> list[Bytes]:
    """The planes of a frame of so many values; raises ArtifactCorrupt."""
    if len(data) < _HEADER.size * len(widths):
        raise ArtifactCorrupt(f"a zipnn frame of {len(data)} bytes")
    planes, at = [], _HEADER.size * len(widths)
    for place, width in enumerate(widths):
        coded, size = _HEADER.unpack_from(data, place * _HEADER.size)
        body, expected = data[at : at + size], values * width
        if len(body) != size or (not coded and size != expected):
            raise ArtifactCorrupt("a zipnn frame's planes do not have their lengths")
        planes.append(decompress(body, expected) if coded else np.frombuffer(body, np.uint8))
        at += size
    if at != len(data):
        raise ArtifactCorrupt("a zipnn frame goes on behind its planes")
    return planes


def _split(values: NDArray[Any], widths: tuple[int, ...]) -> list[Bytes]:
    planes = [np.empty(values.size, f"<u{width}") for width in widths]
    rotated, shifted = np.empty(_BLOCK, values.dtype), np.empty(_BLOCK, values.dtype)
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        bits, r, s = 8 * values.itemsize, rotated[: block.size], shifted[: block.size]
        np.left_shift(block, 1, out=r)  # the sign goes behind the mantissa
        np.right_shift(block, bits - 1, out=s)
        r |= s
        for width, plane in zip(widths, planes, strict=True):
            bits -= 8 * width
            np.right_shift(r, bits, out=s)
            plane[start : start + _BLOCK] = s  # the cast drops what lies above
    return [plane.view(np.uint8) for plane in planes]


def _join(planes: list[Bytes], widths: tuple[int, ...], out: NDArray[Any]) -> None:
    typed = [plane.view(f"<u{width}") for plane, width in zip(planes, widths, strict=True)]
    rotated = np.empty(_BLOCK, out.dtype)
    for start in range(0, out.size, _BLOCK):
        block = out[start : start + _BLOCK]
        r = rotated[: block.size]
        r[:] = typed[0][start : start + _BLOCK]
        for width, plane in zip(widths[1:], typed[1:], strict=True):
            r <<= 8 * width
            r |= plane[start : start + _BLOCK]
        np.right_shift(r, 1, out=block)
        r <<= 8 * out.itemsize - 1
        block |= r
