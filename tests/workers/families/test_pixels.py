"""What a pipeline returns, as the bytes of a video."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workers.families.base import to_pixels
from workers.families.wan import WAN


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
