"""Masks in pixels, in latents and over frames: where they are 0, nothing is touched."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from schemas.films.region import EditRegion
from schemas.models import LatentGrid
from workers.generation.mask import composited, grown, latent_mask

NAME = "0" * 64


def square() -> torch.Tensor:
    """Of one frame of 20x24 pixels: three rows and columns of white."""
    mask = torch.zeros(1, 20, 24)
    mask[0, 8:11, 10:13] = 1
    return mask


def test_growth_widens_a_mask_by_pixels() -> None:
    wide = grown(square(), EditRegion(mask=NAME, growth=4))
    expected = torch.zeros(1, 20, 24)
    expected[0, 4:15, 6:17] = 1
    assert torch.equal(wide, expected)
    assert torch.equal(grown(square(), EditRegion(mask=NAME, growth=512)), torch.ones(1, 20, 24))


def test_a_soft_edge_falls_to_nothing_beyond_the_mask() -> None:
    soft = grown(square(), EditRegion(mask=NAME, growth=1, softness=4))[0]
    assert (soft[7:12, 9:14] == 1).all()
    line = soft[9, 13:19]
    assert line[0] == 1
    assert line[5] == 0  # one pixel behind the four of the edge
    assert (line[:5] > line[1:]).all()


@pytest.mark.parametrize(
    ("offset", "frame", "expected"),
    [(1, 0, 0), (1, 1, 1), (1, 4, 1), (1, 5, 2), (0, 3, 0), (0, 4, 1)],
)
def test_latents_hold_what_their_pixels_hold(offset: int, frame: int, expected: int) -> None:
    """A causal VAE's first latent frame is of one frame, each other one of four."""
    grid = LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2), frames_offset=offset)
    model: Any = SimpleNamespace(
        card=SimpleNamespace(grid=grid, latent_channels=16),
        family=SimpleNamespace(latent_layout="BCFHW", name="test"),
    )
    generation: Any = SimpleNamespace(width=32, height=16, num_frames=8 + offset)
    mask = torch.zeros(8 + offset, 16, 32)
    mask[frame, 9, 23] = 0.25
    found = latent_mask(model, mask, generation)
    assert found.shape == (1, 1, 2 + offset, 2, 4)
    assert found.nonzero().tolist() == [[0, 0, expected, 1, 2]]
    assert found.max() == 0.25


def test_outside_a_mask_the_pixels_are_the_sources() -> None:
    edit, source = np.full((2, 1, 3, 3), 200, np.uint8), np.full((2, 1, 3, 3), 100, np.uint8)
    mask = torch.tensor([[[0.0, 0.5, 1.0]]])
    assert composited(edit, source, mask)[1, 0, :, 0].tolist() == [100, 150, 200]
