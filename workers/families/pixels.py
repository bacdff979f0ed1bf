"""What a pipeline returns, as the bytes of a video."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

Frames = np.ndarray[Any, np.dtype[np.uint8]]  # (F, H, W, 3), RGB


def to_pixels(video: Tensor) -> Frames:
    """(F, 3, H, W) from 0 to 1, of any float dtype, as (F, H, W, 3) uint8 on the host."""
    return round_to_pixels(video).cpu().numpy()


def round_to_pixels(video: Tensor) -> Tensor:
    """As ``to_pixels``, where ``video`` lies.

    As float32 the host would move four times the bytes, and go through them on one core. A frame
    at a time.
    """
    count, channels, height, width = video.shape
    pixels = torch.empty(count, height, width, channels, dtype=torch.uint8, device=video.device)
    for image, frame in zip(video, pixels, strict=True):
        frame.copy_((image.float().clamp(0, 1) * 255).round().permute(1, 2, 0))
    return pixels
