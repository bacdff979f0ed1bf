"""What an edit is judged by: structure kept, object found, colour and season recognised.

Owns the measures; all take films of (B, 3, T, H, W) in [0, 1]. Colour and season are read off
the known palette by rule, the object and its mask by the trained `judge`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.drawing.films import (
    INKS,
    LIGHT,
    OUTLINE,
    PAINT,
    SKY_LOW,
    SKY_TOP,
    SOIL_GREEN,
    SOIL_SAND,
)
from training.drawing.scenes import COLOURS, SEASONS

Ints = NDArray[np.int64]

_EDGE_KNEE = 0.15  # gradient at which an edge counts half: weak and strong edges count alike
_SOIL_ROWS = slice(33, 38)  # below every horizon, above every road
_MIN_PAINT = 0.12  # share of the mask that a colour must cover to be called


def edge_maps(films: Tensor) -> Tensor:
    """Edges of each frame in [0, 1): Sobel magnitude m of the luminance as m / (m + knee).

    (B, 3, T, H, W) to (B, T, H, W). The ratio keeps a recoloured or darker edge an edge.
    """
    weights = films.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)
    luminance = (films * weights).sum(1)
    batch, frames, height, width = luminance.shape
    smooth, slope = films.new_tensor([1.0, 2.0, 1.0]) / 4, films.new_tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)]).unsqueeze(1)
    padded = F.pad(luminance.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="replicate")
    magnitude = F.conv2d(padded, kernels).square().sum(1).sqrt()
    return (magnitude / (magnitude + _EDGE_KNEE)).view(batch, frames, height, width)


def edge_correlation(films: Tensor, source: Tensor) -> Tensor:
    """Pearson correlation of the edge maps over all frames and pixels: (B,)."""
    # float64: sums over 100,000 pixels
    a, b = (edge_maps(x).flatten(1).double() for x in (films, source))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    product: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-9)
    return product


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two masks over all frames: boolean (B, T, H, W) to (B,)."""
    both, either = (a & b).flatten(1).sum(1), (a | b).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 0.0)


def psnr_outside(films: Tensor, source: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB where neither mask is, the masks grown by two pixels: (B,), at most 60."""
    inside = F.max_pool2d((a | b).float(), 5, stride=1, padding=2).unsqueeze(1)
    outside = 1 - inside
    error = ((films - source).square() * outside).flatten(1).sum(1)
    mean = error / (3 * outside.flatten(1).sum(1)).clamp(min=1)
    return (-10 * mean.clamp(min=1e-6).log10()).clamp(max=60.0)


def read_season(films: Tensor, mask: Tensor) -> Ints:
    """Index into SEASONS by sky and soil outside the mask, -1 where the two disagree: (B,)."""
    sky = films[..., :12, :].median(dim=4).values.mean(dim=(2, 3))  # (B, 3)
    free = films.masked_fill(mask.unsqueeze(1), float("nan"))[..., _SOIL_ROWS, :]
    soil = free.flatten(2).nanmedian(dim=2).values.nan_to_num(0.0)  # (B, 3)
    top, low = films.new_tensor(SKY_TOP), films.new_tensor(SKY_LOW)
    by_sky = (sky[:, None] - torch.lerp(top, low, 0.25)).norm(dim=2).argmin(1)
    kinds = [films.new_tensor(kind) for kind in (SOIL_GREEN, SOIL_SAND)]
    by_soil = torch.stack([(soil[:, None] - kind).norm(dim=2) for kind in kinds]).amin(0).argmin(1)
    found: Ints = torch.where(by_sky == by_soil, by_sky, -1).cpu().numpy()
    return found


def _tint(colours: Tensor) -> Tensor:
    """Chromaticity with a little of the colour itself: (P, 3) to (P, 6)."""
    return torch.cat([colours / (colours.sum(1, keepdim=True) + 0.15), 0.3 * colours], dim=1)


def read_colour(films: Tensor, mask: Tensor, season: Ints) -> Ints:
    """Index into COLOURS of the paint that covers most of the mask, -1 if none does: (B,).

    Each pixel in the mask goes to the nearest known ink, by hue more than by brightness since a
    soft outline darkens its neighbours; outline, tyres, glass and lamps are inks of their own
    and have no say.
    """
    found = np.full(len(films), -1, dtype=np.int64)
    for index in range(len(films)):
        pixels = films[index].permute(1, 2, 3, 0)[mask[index]]  # (P, 3)
        if not len(pixels):
            continue
        light = LIGHT[max(int(season[index]), SEASONS.index("day"))]
        paints = [tuple(light * v for v in PAINT[name]) for name in COLOURS]
        others = [OUTLINE, *(tuple(light * v for v in rgb) for rgb in INKS.values())]
        palette = pixels.new_tensor([*paints, *others])
        counts = (
            torch.cdist(_tint(pixels), _tint(palette)).argmin(1).bincount(minlength=len(palette))
        )
        best = int(counts[: len(paints)].argmax())
        if counts[best] >= _MIN_PAINT * len(pixels):
            found[index] = best
    return found


def bootstrap(values: NDArray[np.float64], rounds: int = 2000) -> tuple[float, float, float]:
    """(mean, 2.5th, 97.5th percentile of the mean) over seeds; NaNs if there are none."""
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    picks = np.random.default_rng(0).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
