"""Lossy, the opt-in: 8 bits a value, one scale per channel, then entropy coding.

A channel is a column: activations of diffusion transformers have few channels of large values,
which would take the resolution of all others if a row shared its scale (LLM.int8(), arXiv
2208.07339). The error is at most half a step, max|column|/254, and then half a unit in the last
place of the tensor's dtype, to which the result is rounded: of bfloat16 max|column|/512, 1.49 times
the half step together; of float16 max|column|/4096. bench/codecs.py measures what that does to the
attention map.

Layout: ``width`` float32 scales, little-endian; a zstd frame of rows·width int8. What comes from
or goes to a GPU is quantised there (``device_layout``), and only the entropy coding is done here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.artifacts import Dtype
from schemas.errors import ArtifactCorrupt, ArtifactWriteFailed
from workers.artifacts.codecs.entropy import Bytes, Data, compress, decompress

_LEVELS = 127
_BLOCK = 1 << 16


class Int8:
    version = 1

    def encode(self, rows: NDArray[Any], dtype: Dtype) -> list[Data]:
        peaks = np.zeros(rows.shape[1], np.float32)
        for block in _blocks(rows):
            values = _floats(block, dtype)
            np.maximum(peaks, np.maximum(values.max(axis=0), -values.min(axis=0)), out=peaks)
        scales = np.abs(peaks) / np.float32(_LEVELS)  # of zeros that are negative too
        inverse = 1 / np.where(scales > np.finfo(np.float32).tiny, scales, np.float32(1))
        levels = np.empty(rows.shape, np.int8)
        for block, out in zip(_blocks(rows), _blocks(levels), strict=True):
            values = _floats(block, dtype)
            values *= inverse
            np.rint(values, out=values)
            np.clip(values, -_LEVELS, _LEVELS, out=values)
            out[:] = values
        return [scales.astype("<f4").tobytes(), compress(levels.reshape(-1).view(np.uint8))]

    def encode_packed(self, packed: Bytes, width: int) -> list[Data]:
        """Raises ArtifactWriteFailed for values that are not finite."""
        head = packed[: 4 * width]
        if not np.isfinite(head.view("<f4")).all():
            # on the host such rows become zipnn; here they are gone
            raise ArtifactWriteFailed("values that are not finite cannot be kept as int8")
        return [head.tobytes(), compress(packed[4 * width :])]

    def decode(self, data: memoryview, out: NDArray[Any], dtype: Dtype) -> None:
        head, levels = _split_frame(data, out.size, out.shape[1])
        scales = head.view("<f4")
        signed = levels.view(np.int8).reshape(out.shape)
        for block, target in zip(_blocks(signed), _blocks(out), strict=True):
            _store(block * scales, target, dtype)

    def decode_packed(self, data: memoryview, out: Bytes, width: int) -> None:
        head, levels = _split_frame(data, out.size - 4 * width, width)
        out[: head.size], out[head.size :] = head, levels


def _split_frame(data: memoryview, values: int, width: int) -> tuple[Bytes, Bytes]:
    """The bytes of the scales, and of the levels, of a frame; raises ArtifactCorrupt."""
    head = 4 * width
    if len(data) < head:
        raise ArtifactCorrupt("an int8 frame is shorter than its scales")
    return np.frombuffer(data[:head], np.uint8), decompress(data[head:], values)


def _blocks(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """``rows`` in pieces that a core's cache holds."""
    count = max(1, _BLOCK // rows.shape[1])
    return [rows[start : start + count] for start in range(0, len(rows), count)]


def finite(rows: NDArray[Any], dtype: Dtype) -> bool:
    """Whether no value is infinite or not a number: then the exponent is all ones."""
    exponent = {"bfloat16": 0x7F80, "float16": 0x7C00, "float32": 0x7F800000}[dtype]
    return bool(np.all((rows & exponent) != exponent))


def _floats(rows: NDArray[Any], dtype: Dtype) -> NDArray[np.float32]:
    if dtype == "bfloat16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.view(np.float16 if dtype == "float16" else np.float32).astype(np.float32)


def _store(values: NDArray[np.float32], out: NDArray[Any], dtype: Dtype) -> None:
    if dtype == "bfloat16":
        # to nearest even, as the cast in torch: halves of the last kept bit go to even
        bits = values.view(np.uint32)
        bits += ((bits >> 16) & 1) + 0x7FFF
        out[:] = bits >> 16
    else:
        out.view(np.float16 if dtype == "float16" else np.float32)[:] = values
