"""What torch packs where the tensor is, is what numpy makes of it on the host, to the bit.

Here "there" is the CPU: the same functions, without streams and page-locked memory.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.artifacts import Dtype, Frame, Manifest
from schemas.attention import CodecName
from schemas.errors import ArtifactCorrupt, ArtifactWriteFailed
from tests.workers.artifacts.captures import activations, equal, plan, recipe, write
from tests.workers.artifacts.codecs.test_codecs import FLOATS, decoded, frame_of
from workers.artifacts.codecs import layout_registry
from workers.artifacts.codecs.codec import encode_packed
from workers.artifacts.codecs.device_layout import Levels
from workers.artifacts.codecs.layout_registry import device_layout_of
from workers.artifacts.codecs.tensors import DTYPES
from workers.artifacts.read.plan import TensorPlan
from workers.artifacts.read.tensor_assembler import DeviceAssembler
from workers.artifacts.store import ArtifactStore
from workers.artifacts.write import writer
from workers.attention.maps import Address

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def awkward(dtype: Dtype) -> Tensor:
    """Channels of very different size, of zeros, of what float32 can hardly hold, and of ties."""
    rows = activations((300, 64), torch.float32, 7)
    rows[:, 0], rows[:, 1] = 0.0, -0.0
    rows[:, 2] *= 1e-39
    rows[:, 3] = torch.arange(300) % 255 - 127 + 0.5
    rows[0, 3] = 127
    rows[:, 4] = torch.finfo(DTYPES[dtype]).max / 2
    return rows.to(DTYPES[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("codec", ["zipnn", "int8"])
def test_packed_there_are_the_same_frames(codec: CodecName, dtype: Dtype) -> None:
    there = device_layout_of(codec, DTYPES[dtype], CPU)
    if there is None:
        assert (codec, dtype) == ("zipnn", "float32"), "left to the host"
        return
    rows = awkward(dtype)
    for part, packed in zip(torch.split(rows, 130), there.pack(rows, 130), strict=True):
        _, body = frame_of(codec, part, dtype)
        frame = packed[: there.size(*part.shape)].numpy()
        assert b"".join(encode_packed(codec, frame, rows.shape[1]).pieces) == body


def test_without_triton_torch_packs_on_a_gpu_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "workers.artifacts.codecs.triton_kernels", None)
    layout_registry._fused.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda _: device_layout_of("int8", torch.bfloat16, CUDA), range(8))
        assert {type(each) for each in found} == {Levels}
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once"
    layout_registry._fused.cache_clear()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    rows = awkward("bfloat16")
    rows[17, 9] = bad
    with pytest.raises(ArtifactWriteFailed, match="not finite"):
        encode_packed("int8", Levels().pack(rows, len(rows))[0].numpy(), rows.shape[1])


def _landed(frames: list[tuple[Frame, bytes]]) -> Tensor:
    """One tensor of ``frames``, by the way that goes to a device."""
    first = frames[0][0]
    tensor_plan = TensorPlan(Address(0, "cond", 0), "hidden", first.dtype, first.shape)
    landing = DeviceAssembler(tensor_plan, CPU, None)
    for frame, body in frames:
        landing.land(frame, memoryview(body))
    return landing.tensor()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("codec", ["raw", "zstd", "zipnn", "int8"])
def test_landed_there_is_the_same_tensor(codec: CodecName, dtype: Dtype) -> None:
    """In two frames, the second of them first."""
    rows = awkward(dtype)
    halves = [rows[:100], rows[100:]]
    frames, expected = [], []
    for half, place in zip(halves, [(0, 100), (100, 300)], strict=True):
        frame, body = frame_of(codec, half, dtype)
        expected.append(decoded(frame, body))
        whole = frame.model_copy(update={"shape": tuple(rows.shape), "rows": place})
        frames.append((whole, body))
    assert equal(_landed(frames[::-1]), torch.cat(expected))


def test_damage_is_noticed_before_it_lands() -> None:
    frame, body = frame_of("int8", awkward("bfloat16"), "bfloat16")
    with pytest.raises(ArtifactCorrupt, match="checksum"):
        _landed([(frame, body[:-1] + bytes([body[-1] ^ 1]))])


@pytest.mark.parametrize("codec", ["zipnn", "int8"])
def test_a_capture_that_packs_there_writes_the_same(
    store: ArtifactStore, codec: CodecName, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = plan(codec=codec)
    on_host, _ = write(store, captured)
    monkeypatch.setattr(
        writer, "device_layout_there", lambda rows, codec: device_layout_of(codec, rows.dtype, CPU)
    )
    there, _ = write(store, captured, recipe=recipe(seed=2))
    assert _sums(there) == _sums(on_host)


def _sums(manifest: Manifest) -> Any:
    return [
        (frame.step, frame.branch, frame.layer, frame.rows, frame.size, frame.crc32c)
        for pack in manifest.packs
        for frame in pack.frames
    ]
