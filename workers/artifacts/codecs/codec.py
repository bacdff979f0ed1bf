"""Codecs: rows of a tensor to bytes and back.

Arrays are (rows, width) in C order, of unsigned integers as wide as the dtype (numpy has no
bfloat16). A codec's number of version goes into each frame; every version ever written stays
readable (tests/workers/artifacts/golden). Encoders and decoders run in threads beside the
denoising and give up the GIL in all that takes time.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.artifacts import ITEM_BYTES, Dtype, Frame
from schemas.attention import CodecName
from schemas.errors import ArtifactCorrupt
from workers.artifacts.codecs.checksum import crc32c
from workers.artifacts.codecs.entropy import Bytes, Data, compress, decompress
from workers.artifacts.codecs.int8 import Int8, finite
from workers.artifacts.codecs.zipnn import ZipNN

Array = NDArray[Any]
FLOATS: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")


class Codec(Protocol):
    version: int

    def encode(self, rows: Array, dtype: Dtype) -> list[Data]:
        """Pieces to be joined; of codec raw alone they are views of ``rows``."""

    def decode(self, data: memoryview, out: Array, dtype: Dtype) -> None:
        """Fill ``out``; raises ArtifactCorrupt."""


class DeviceCodec(Codec, Protocol):
    """One whose arithmetic may be done on the device (``device_layout``); this is what is left."""

    def encode_packed(self, packed: Bytes, width: int) -> list[Data]:
        """Pieces to be joined, none a view of ``packed``; raises ArtifactWriteFailed."""

    def decode_packed(self, data: memoryview, out: Bytes, width: int) -> None:
        """Fill ``out``; raises ArtifactCorrupt."""


class Raw:
    version = 1

    def encode(self, rows: Array, dtype: Dtype) -> list[Data]:
        return [rows.reshape(-1).view(np.uint8).data]

    def decode(self, data: memoryview, out: Array, dtype: Dtype) -> None:
        if len(data) != out.nbytes:
            raise ArtifactCorrupt(f"a raw frame has {len(data)} bytes in place of {out.nbytes}")
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)


class Zstd:
    version = 1

    def encode(self, rows: Array, dtype: Dtype) -> list[Data]:
        return [compress(rows.reshape(-1).view(np.uint8))]

    def decode(self, data: memoryview, out: Array, dtype: Dtype) -> None:
        out.reshape(-1).view(np.uint8)[:] = decompress(data, out.nbytes)


PACKABLE: dict[CodecName, DeviceCodec] = {"zipnn": ZipNN(), "int8": Int8()}
CODECS: dict[CodecName, Codec] = {"raw": Raw(), "zstd": Zstd(), **PACKABLE}


class Encoded(NamedTuple):
    """``crc32c``: over the joined pieces. ``codec``: what was used in the end.

    ``borrows``: pieces are views of the rows, whose memory they need for as long as they live.
    """

    pieces: list[Data]
    size: int
    crc32c: int
    codec: CodecName
    version: int

    @property
    def borrows(self) -> bool:
        return self.codec == "raw"


def suitable_codec(codec: CodecName, rows: Array, dtype: Dtype) -> CodecName:
    """``codec``, or the nearest that can hold these values: only finite floats become int8."""
    if codec in ("zipnn", "int8") and dtype not in FLOATS:
        return "zstd"
    if codec == "int8" and not finite(rows, dtype):
        return "zipnn"
    return codec


def encode(codec: CodecName, rows: Array, dtype: Dtype) -> Encoded:
    name = suitable_codec(codec, rows, dtype)
    return _with_checksum(CODECS[name].encode(rows, dtype), name)


def encode_packed(codec: CodecName, packed: Bytes, width: int) -> Encoded:
    """Of rows that were packed where they were made; raises ArtifactWriteFailed."""
    return _with_checksum(PACKABLE[codec].encode_packed(packed, width), codec)


def _with_checksum(pieces: list[Data], name: CodecName) -> Encoded:
    checksum, size = 0, 0
    for piece in pieces:
        checksum, size = crc32c(piece, checksum), size + memoryview(piece).nbytes
    return Encoded(pieces, size, checksum, name, CODECS[name].version)


def decode(frame: Frame, data: memoryview, out: Array) -> None:
    """``data``, the frame's bytes, into ``out``; raises ArtifactCorrupt.

    Decoders make no more than ``out`` holds, which the manifest's bounds already allowed.
    """
    _check(frame, data)
    if out.nbytes != frame.decoded_bytes or out.itemsize != ITEM_BYTES[frame.dtype]:
        raise ArtifactCorrupt(f"{frame.name}: the frame does not fit its tensor")
    CODECS[frame.codec].decode(data, out, frame.dtype)


def decode_packed(frame: Frame, data: memoryview, out: Bytes) -> None:
    """``data``, the frame's bytes, for its layout's ``unpack``; raises ArtifactCorrupt."""
    _check(frame, data)
    PACKABLE[frame.codec].decode_packed(data, out, frame.width)


def _check(frame: Frame, data: memoryview) -> None:
    """Raise ArtifactCorrupt before any decoder sees bytes that nobody wrote."""
    if len(data) != frame.size or crc32c(data) != frame.crc32c:
        raise ArtifactCorrupt(
            f"{frame.name} of step {frame.step}, branch {frame.branch}, layer {frame.layer}: "
            "the checksum does not match"
        )
    if frame.codec_version != CODECS[frame.codec].version:
        raise ArtifactCorrupt(f"codec {frame.codec} version {frame.codec_version} is not known")
