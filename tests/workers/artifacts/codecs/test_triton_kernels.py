"""Triton's kernels give what torch's operations give, to the bit.

Triton's interpreter runs them on the CPU (tests/conftest.py), or with TRITON_INTERPRET=0 a GPU.
The interpreter is exact but in bfloat16, where it mistakes subnormal values and cuts off what the
hardware rounds.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.artifacts import Dtype
from tests.workers.artifacts.codecs.test_codecs import FLOATS
from tests.workers.artifacts.codecs.test_device_layout import awkward
from workers.artifacts.codecs import layout_registry
from workers.artifacts.codecs.device_layout import DeviceLayout, Levels, Planes
from workers.artifacts.codecs.tensors import DTYPES
from workers.artifacts.codecs.triton_kernels import FUSED, FusedLevels, FusedPlanes

ROOT = Path(__file__).parents[4]
INTERPRETED = os.environ["TRITON_INTERPRET"] == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
BITS = {2: torch.int16, 4: torch.int32}
# rows, width, rows of a frame: several frames, the last shorter; a width that no tile divides; one
SHAPES = [(300, 64, 100), (299, 63, 100), (7, 5, 2), (300, 64, 1000)]


PAIRS: list[tuple[DeviceLayout, DeviceLayout]] = [
    (FusedLevels(), Levels()),
    (FusedPlanes(), Planes()),
]
EACH = pytest.mark.parametrize(
    ("fused", "by_torch", "dtype"),
    [(*pair, dtype) for pair in PAIRS for dtype in FLOATS if DTYPES[dtype] in pair[0].dtypes],
)


def _rows(dtype: Dtype) -> Tensor:
    """(300, 64) on the device."""
    rows = awkward(dtype)
    if INTERPRETED and dtype == "bfloat16":
        rows[:, 2] = 0.0
    return rows.to(DEVICE)


@EACH
@pytest.mark.parametrize("shape", SHAPES)
def test_packed_frames_are_the_same(
    fused: DeviceLayout, by_torch: DeviceLayout, dtype: Dtype, shape: tuple[int, int, int]
) -> None:
    total, width, frame_rows = shape
    rows = _rows(dtype)[:total, :width]
    frames = fused.pack(rows, frame_rows), by_torch.pack(rows, frame_rows)
    for part, ours, expected in zip(torch.split(rows, frame_rows), *frames, strict=True):
        size = by_torch.size(*part.shape)
        assert torch.equal(ours[:size], expected[:size])


@EACH
@pytest.mark.parametrize("shape", SHAPES)
def test_unpacked_rows_are_the_same(
    fused: DeviceLayout, by_torch: DeviceLayout, dtype: Dtype, shape: tuple[int, int, int]
) -> None:
    total, width, frame_rows = shape
    rows = _rows(dtype)[:total, :width]
    part = rows[:frame_rows]
    packed = by_torch.pack(rows, frame_rows)[0, : by_torch.size(*part.shape)]
    ours, expected = torch.empty_like(part), torch.empty_like(part)
    fused.unpack(packed, ours)
    by_torch.unpack(packed, expected)
    bits = BITS[rows.element_size()]
    apart = (ours.view(bits).int() - expected.view(bits).int()).abs().max()
    truncated = INTERPRETED and dtype == "bfloat16" and isinstance(fused, FusedLevels)
    assert apart <= (1 if truncated else 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scales_tell_of_what_is_not_finite(bad: float) -> None:
    rows = _rows("bfloat16")
    rows[17, 9] = bad
    scales = FusedLevels().pack(rows, 100)[:, : 4 * 64].view(torch.float32)
    assert (~scales.isfinite()).nonzero().tolist() == [[0, 9]]


def test_rows_that_lie_apart() -> None:
    """A query out of a fused projection is every third part of its rows."""
    rows = _rows("bfloat16")[:, 16:32]
    for fused, _ in PAIRS:
        assert torch.equal(fused.pack(rows, 300), fused.pack(rows.contiguous(), 300))


def test_no_rows_are_no_frames() -> None:
    for packing_ in (*FUSED.values(), Levels(), Planes()):
        assert len(packing_.pack(_rows("bfloat16")[:0], 100)) == 0


def test_where_triton_works_it_packs() -> None:
    for codec, fused in FUSED.items():
        assert layout_registry._fused(codec, torch.float16, DEVICE) is fused


@pytest.mark.slow
def test_kernels_compile() -> None:
    """What the interpreter takes the compiler may refuse."""
    command = [sys.executable, "-m", "tests.workers.artifacts.codecs.compile_kernels"]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(int(line.split()[-1]) > 0 for line in done.stdout.splitlines())
