"""Entropy coding by zstd, with settings for bytes of numbers, and bounded decoding.

Bytes of activations hardly repeat, but their distribution is far from flat: a match finder only
costs time, and zstd's Huffman stage does the work. So: a tiny hash table and long minimum match.
Measured in docs/experiments/store.md.
"""

import numpy as np
import zstandard
from numpy.typing import NDArray

from schemas.errors import ArtifactCorrupt

Data = bytes | memoryview
Bytes = NDArray[np.uint8]
_SAMPLE = 64 << 10
_WORTH = 0.95  # below this share of the plain size, decoding pays


def compress(data: Bytes) -> bytes:
    """One zstd frame that names its content size. Other threads run meanwhile."""
    parameters = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        window_log=17,
        hash_log=6,
        min_match=7,
        write_content_size=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data.data)


def decompress(data: Data, size: int) -> Bytes:
    """The ``size`` bytes of a zstd frame; raises ArtifactCorrupt and never makes more than that."""
    try:
        # the library allocates what the frame claims: check the claim first
        if zstandard.frame_content_size(data) != size:
            raise ArtifactCorrupt(f"a compressed frame does not hold {size} bytes")
        plain = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        raise ArtifactCorrupt("a compressed frame cannot be decoded") from None
    return np.frombuffer(plain, np.uint8)


def compressible(data: Bytes) -> bool:
    """Whether a sample from the middle of ``data`` shrinks enough to be worth decoding."""
    start = max(0, (data.size - _SAMPLE) // 2)
    sample = data[start : start + _SAMPLE]
    return len(compress(sample)) < _WORTH * sample.size
