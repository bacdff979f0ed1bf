"""Codecs: exact where they promise it, bounded where not, readable for ever, and not to be fooled.

The golden files are what this version wrote; the test that reads them must never be changed to
make it pass: add a version to the codec instead.
"""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.artifacts import Dtype, Frame
from schemas.attention import CodecName
from schemas.errors import ArtifactCorrupt
from tests.workers.artifacts.captures import activations, equal
from workers.artifacts.codecs.codec import CODECS, decode, encode
from workers.artifacts.codecs.tensors import DTYPES, as_array, empty
from workers.artifacts.host_buffer_cache import HostBufferCache

GOLDEN = Path(__file__).parent / "golden"
FLOATS: list[Dtype] = ["bfloat16", "float16", "float32"]
LOSSLESS: list[CodecName] = ["raw", "zstd", "zipnn"]


def frame_of(codec: CodecName, tensor: torch.Tensor, dtype: Dtype) -> tuple[Frame, bytes]:
    """``tensor`` (rows, width) as a store would hold it."""
    data = tensor.contiguous().view(-1).view(torch.uint8)
    encoded = encode(codec, as_array(data, dtype, tensor.shape[-1]), dtype)
    body = b"".join(encoded.pieces)
    return described(encoded.codec, tensor.shape, dtype, body), body


def described(codec: CodecName, shape: Any, dtype: Dtype, body: bytes, version: int = 1) -> Frame:
    return Frame(
        name="hidden",
        step=0,
        branch="cond",
        layer=0,
        codec=codec,
        codec_version=version,
        dtype=dtype,
        shape=tuple(shape),
        rows=(0, shape[0]),
        offset=0,
        size=len(body),
        crc32c=google_crc32c.value(body),
    )


def decoded(frame: Frame, body: bytes) -> torch.Tensor:
    tensor, data = empty(frame.shape, frame.dtype, HostBufferCache(0))
    decode(frame, memoryview(body), as_array(data, frame.dtype, frame.width))
    return tensor


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_to_the_bit(codec: CodecName, dtype: Dtype) -> None:
    tensor = activations((300, 96), DTYPES[dtype], 0)
    tensor[0, :4] = torch.tensor([0.0, -0.0, float("inf"), float("-inf")]).to(tensor.dtype)
    tensor[1] = float("nan")
    assert equal(decoded(*frame_of(codec, tensor, dtype)), tensor)


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(min_size=4, max_size=600),
    codec=st.sampled_from(LOSSLESS),
    dtype=st.sampled_from(FLOATS),
)
def test_lossless_on_any_bits(data: bytes, codec: CodecName, dtype: Dtype) -> None:
    whole = len(data) // 4 * 4
    tensor = torch.frombuffer(bytearray(data[:whole]), dtype=DTYPES[dtype]).view(-1, 1)
    assert equal(decoded(*frame_of(codec, tensor, dtype)), tensor)


@pytest.mark.parametrize("dtype", FLOATS)
def test_int8_errs_by_half_a_step_of_its_channel(dtype: Dtype) -> None:
    tensor = activations((400, 64), DTYPES[dtype], 1)
    tensor[:, 5] = 0
    frame, body = frame_of("int8", tensor, dtype)
    error = (decoded(frame, body).double() - tensor.double()).abs()
    # half a step, and the rounding of the dtype itself; scales and products are float32's
    peak = tensor.double().abs().amax(0)
    rounding = torch.finfo(tensor.dtype).eps / 2 + 4 * torch.finfo(torch.float32).eps
    assert bool((error <= peak / 254 + peak * rounding).all())
    assert frame.codec == "int8"
    assert frame.size < tensor.nbytes * (0.3 if dtype == "float32" else 0.55)


def test_int8_leaves_to_others_what_it_cannot_hold() -> None:
    tensor = activations((20, 8), torch.bfloat16, 2)
    tensor[3, 3] = float("inf")
    frame, body = frame_of("int8", tensor, "bfloat16")
    assert frame.codec == "zipnn"
    assert equal(decoded(frame, body), tensor)
    times = torch.arange(40).view(10, 4)
    frame, body = frame_of("zipnn", times, "int64")
    assert frame.codec == "zstd"
    assert equal(decoded(frame, body), times)


def test_zipnn_is_near_the_entropy_of_the_exponents() -> None:
    tensor = activations((4096, 256), torch.bfloat16, 3)
    frame, _ = frame_of("zipnn", tensor, "bfloat16")
    counts = torch.bincount((tensor.view(torch.int16).int() >> 7 & 0xFF).view(-1)).double()
    share = counts[counts > 0] / counts.sum()
    bits = 8 - (share * share.log2()).sum()  # sign and mantissa are noise
    assert frame.size <= 1.03 * tensor.numel() * float(bits) / 8


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_files(path: Path) -> None:
    frame = Frame.model_validate_json(path.read_text())
    body = path.with_suffix(".pack").read_bytes()
    expected = torch.frombuffer(
        bytearray((GOLDEN / f"{frame.dtype}.expected").read_bytes()), dtype=DTYPES[frame.dtype]
    ).view(frame.shape)
    got = decoded(frame, body)
    if frame.codec == "int8":
        stored = (GOLDEN / f"{path.stem}.decoded").read_bytes()
        assert bytes(got.view(torch.uint8).numpy()) == stored
        torch.testing.assert_close(got, expected, rtol=0, atol=0.1)
    else:
        assert equal(got, expected)


def test_every_codec_has_golden_files() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {
        f"{codec}-{dtype}-v{CODECS[codec].version}" for codec in CODECS for dtype in FLOATS
    }


class TestDamage:
    @pytest.mark.parametrize("codec", list(CODECS))
    def test_any_flipped_bit_is_noticed(self, codec: CodecName) -> None:
        frame, body = frame_of(codec, activations((16, 8), torch.bfloat16, 4), "bfloat16")
        for place in range(8 * len(body)):
            damaged = bytearray(body)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(ArtifactCorrupt, match="checksum"):
                decoded(frame, bytes(damaged))

    @pytest.mark.parametrize("codec", list(CODECS))
    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_bytes_with_a_right_sum_cannot_hurt(self, codec: CodecName, data: Any) -> None:
        """A hostile writer has a right checksum: whatever it wrote is a tensor or an error."""
        _, body = frame_of(codec, activations((32, 8), torch.float32, 5), "float32")
        damaged = bytearray(body)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        damaged = damaged[: data.draw(st.integers(1, len(damaged)))]
        with contextlib.suppress(ArtifactCorrupt):
            decoded(described(codec, (32, 8), "float32", bytes(damaged)), bytes(damaged))

    @pytest.mark.parametrize("codec", ["zstd", "int8", "zipnn"])
    def test_a_bomb_is_refused_before_it_is_unpacked(self, codec: CodecName) -> None:
        bomb = zstandard.ZstdCompressor(level=19).compress(bytes(256 << 20))
        assert len(bomb) < 32 << 10
        head = {"zstd": b"", "int8": bytes(4 * 8), "zipnn": _planes(len(bomb))}[codec]
        body = head + bomb + (bytes(128) if codec == "zipnn" else b"")
        with pytest.raises(ArtifactCorrupt, match="does not hold"):
            decoded(described(codec, (16, 8), "bfloat16", body), body)

    def test_a_frame_without_its_size_is_refused(self) -> None:
        body = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(256))
        with pytest.raises(ArtifactCorrupt, match="does not hold"):
            decoded(described("zstd", (16, 8), "bfloat16", body), body)

    def test_an_unknown_version_is_refused(self) -> None:
        body = bytes(256)
        with pytest.raises(ArtifactCorrupt, match="version 9"):
            decoded(described("raw", (16, 8), "bfloat16", body, version=9), body)


def _planes(size: int) -> bytes:
    return struct.pack("<BQ", 1, size) + struct.pack("<BQ", 0, 128)


def make_golden() -> None:
    """Write what is missing; run by hand when a codec gets a version."""
    for dtype in FLOATS:
        tensor = activations((24, 16), DTYPES[dtype], 42)
        expected = GOLDEN / f"{dtype}.expected"
        if not expected.exists():
            expected.write_bytes(tensor.view(torch.uint8).numpy().tobytes())
        for codec in CODECS:
            path = GOLDEN / f"{codec}-{dtype}-v{CODECS[codec].version}.json"
            if path.exists():
                continue
            frame, body = frame_of(codec, tensor, dtype)
            path.with_suffix(".pack").write_bytes(body)
            path.write_text(json.dumps(frame.model_dump(mode="json")) + "\n")
            if codec == "int8":
                got = decoded(frame, body).view(torch.uint8).numpy()
                path.with_suffix(".decoded").write_bytes(np.ascontiguousarray(got).tobytes())


if __name__ == "__main__":
    make_golden()
