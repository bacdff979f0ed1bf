"""What a pipeline returns, as the bytes of a video: all at once, and piece by piece."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from tests.workers.bench import generate
from tests.workers.families.cases import Case, Runs
from workers.control.engine_protocol import PendingFrames
from workers.engine.decoded_pieces import pieces_as_decoded
from workers.families.pixels import Frames, to_pixels
from workers.families.wan import WAN
from workers.models.pipelines import LoadedModel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pixels_are_those_of_numpy(dtype: torch.dtype) -> None:
    """To the bit: a video's bytes must not depend on where they are rounded."""
    # halves among them, and values beyond both ends
    steps = torch.arange(-40, 2 * 256 + 40).repeat(12)[: 2 * 3 * 31 * 38] / 510
    video = steps.reshape(2, 3, 31, 38).to(dtype)
    expected = video.float().permute(0, 2, 3, 1).numpy()
    expected = (np.clip(expected, 0, 1) * 255).round().astype(np.uint8)
    assert np.array_equal(to_pixels(video), expected)


def test_the_last_row_is_the_video() -> None:
    rows = torch.stack([torch.zeros(2, 3, 4, 6), torch.ones(2, 3, 4, 6)])
    frames = WAN.frames(SimpleNamespace(frames=rows))
    assert frames.shape == (2, 4, 6, 3)
    assert frames.dtype == np.uint8
    assert (frames == 255).all()


class Told:
    """What was told of the last video, by piece."""

    def __init__(self) -> None:
        self.pieces: list[Frames] = []

    def __call__(self, frames: PendingFrames, first: bool) -> None:
        if first:
            self.pieces.clear()
        self.pieces.append(frames())


def pieces_of(model: LoadedModel, prompt: str, **more: Any) -> tuple[Frames, list[Frames]]:
    told = Told()
    with pieces_as_decoded(model, told):
        frames = generate(model, tiny.recipe(model, prompt, **more))
    generate(model, tiny.recipe(model, "a dog", **more))  # nobody is told of it
    return frames, told.pieces


def test_what_is_told_is_the_video(runs: Runs, case: Case) -> None:
    told = Told()
    with pieces_as_decoded(runs.model, told):
        frames = generate(runs.model, runs.recipe("a car", width=case.size * 2))
    if type(runs.model.pipeline.vae).__name__ != "AutoencoderKLWan":
        assert not told.pieces
        return
    assert len(told.pieces) == (len(frames) - 1) // 4 + 1  # one a latent frame
    assert np.array_equal(np.concatenate(told.pieces), frames)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vae_that_decodes_patches(tmp_path: Path, dtype: str) -> None:
    """As that of Wan2.2-TI2V-5B."""
    pipeline = tiny.wan()
    torch.manual_seed(0)
    vae = tiny.parts.AutoencoderKLWan(
        base_dim=4,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    )
    pipeline = tiny.parts.WanPipeline(**{**pipeline.components, "vae": vae})
    model = tiny.load(pipeline, tmp_path, dtype=dtype, component_dtypes={"vae": dtype})
    frames, pieces = pieces_of(model, "a car", width=64, height=64)
    assert frames.shape[1:] == (64, 64, 3)
    assert len(pieces) > 1
    assert np.array_equal(np.concatenate(pieces), frames)


def test_tiles_are_not_told_of(tmp_path: Path) -> None:
    model = tiny.load(tiny.wan(), tmp_path, vae_tiling=True)
    assert pieces_of(model, "a car")[1] == []
