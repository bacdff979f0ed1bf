"""How far one video is from another: PSNR, SSIM, edges; and how much of a change an edit made.

Videos are (F, H, W, 3) uint8. SSIM is Wang et al.'s (2004), of the luminance, with a Gaussian
window of 11 pixels and deviation 1.5. Edges are compared as the bundled model's bench does
(``training.metrics``).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from workers.families.pixels import Frames

MOST_PSNR = 100.0  # dB: of two videos that are the same, whose PSNR is infinite
EDGE_KNEE = 0.15  # gradient at which an edge counts half: weak and strong edges count alike
COLOUR_LEVELS = 8  # a channel, of the histogram of colours

DEFINITIONS = {
    "psnr": ("dB", f"10 log10(255² / mean square difference), {MOST_PSNR:g} at most"),
    "ssim": ("1", "mean SSIM of the luminance, frame by frame (Wang et al. 2004)"),
    "edges": (
        "1",
        "Pearson correlation, over all pixels and frames, of Sobel edges m / (m + 0.15) of the "
        "luminance: how much of the picture's structure is the same",
    ),
}


class Distance(NamedTuple):
    """Of two videos; a larger number is nearer, in each."""

    psnr: float
    ssim: float
    edges: float


def distance(video: Frames, other: Frames) -> Distance:
    """Of two videos of one shape. Raises ValueError for two shapes."""
    if video.shape != other.shape:
        raise ValueError(f"videos of shapes {video.shape} and {other.shape} are not comparable")
    pairs = [(luminance(a), luminance(b)) for a, b in zip(video, other, strict=True)]
    similar = float(np.mean([ssim(one, two) for one, two in pairs]))
    return Distance(psnr(video, other), similar, edge_likeness(video, other))


def psnr(pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """In dB, of two arrays of one shape; ``MOST_PSNR`` at most."""
    square = np.mean(
        [((a.astype(np.float64) - b) ** 2).mean() for a, b in zip(pixels, other, strict=True)]
    )
    return decibels(float(square))


def decibels(square: float) -> float:
    """The PSNR of a mean square difference of values from 0 to 255; ``MOST_PSNR`` at most."""
    return MOST_PSNR if square == 0 else float(min(MOST_PSNR, 10 * np.log10(255**2 / square)))


def edge_likeness(video: Frames, other: Frames) -> float:
    """See ``DEFINITIONS``, "edges"."""
    edges = _Correlation()
    for a, b in zip(video, other, strict=True):
        edges.add(edge_map(luminance(a)), edge_map(luminance(b)))
    return edges.value()


def luminance(frame: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 to (H, W) in 0 to 1."""
    red, green, blue = torch.from_numpy(frame).unbind(-1)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def ssim(one: Tensor, other: Tensor) -> float:
    """Of two frames' luminance (H, W) in 0 to 1; over the places that the window fits in whole."""
    size = min(11, *one.shape)
    reach = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-(reach**2) / (2 * 1.5**2))
    kernel = torch.outer(window, window) / window.sum() ** 2
    a, b = one.double()[None], other.double()[None]
    stack = torch.stack([a, b, a * a, b * b, a * b])  # (5, 1, H, W)
    mean_a, mean_b, aa, bb, ab = F.conv2d(stack, kernel[None, None])
    variance_a, variance_b, covariance = (
        aa - mean_a**2,
        bb - mean_b**2,
        ab - mean_a * mean_b,
    )
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    whole = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float((alike / whole).mean())


def edge_map(light: Tensor) -> Tensor:
    """Sobel magnitude m of (H, W) as m / (m + knee), so that a recoloured edge is an edge."""
    padded = F.pad(light[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    # sums of shifted pictures: several times as quick as a convolution of one channel
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    dx = across[:-2] + 2 * across[1:-1] + across[2:]
    dy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    magnitude = torch.hypot(dx, dy) / 8
    return magnitude / (magnitude + EDGE_KNEE)


class _Correlation:
    """Pearson's, of numbers that come in parts."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)

    def add(self, a: Tensor, b: Tensor) -> None:
        x, y = a.flatten().double(), b.flatten().double()
        parts = (len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y)
        self._sums += np.array(parts)

    def value(self) -> float:
        """1 where both are flat, 0 where one is."""
        n, x, y, xx, yy, xy = self._sums
        spreads = max(xx - x * x / n, 0), max(yy - y * y / n, 0)
        if min(spreads) <= 1e-12 * n:
            return 1.0 if max(spreads) <= 1e-12 * n else 0.0
        return float((xy - x * y / n) / np.sqrt(spreads[0] * spreads[1]))


def colours(video: Frames) -> NDArray[np.float64]:
    """The share of all pixels in each of 8³ boxes of colours: (512,)."""
    level = video.astype(np.int64) * COLOUR_LEVELS // 256
    box = (level[..., 0] * COLOUR_LEVELS + level[..., 1]) * COLOUR_LEVELS + level[..., 2]
    return np.bincount(box.ravel(), minlength=COLOUR_LEVELS**3) / box.size


CHANGE_MADE = (
    "share of plain's change",
    "of the colours that the new prompt's own video (plain, without transfer) has more of than the "
    "source, the share that the edit has more of too: sum of min(h(edit) - h(source), h(plain) - "
    "h(source)) over the boxes where both are above 0, over the sum of h(plain) - h(source), h the "
    "share of pixels in each of 8³ boxes of colours. It looks at no place; an edit that keeps a "
    "shot in which the change is smaller than in plain has less than 1",
)


def change_made(edit: Frames, source: Frames, plain: Frames) -> float:
    """See ``CHANGE_MADE``. NaN where the new prompt brings no new colour."""
    edited, had, wanted = colours(edit), colours(source), colours(plain)
    new = np.maximum(wanted - had, 0)
    if new.sum() == 0:
        return float("nan")
    return float(np.minimum(np.maximum(edited - had, 0), new).sum() / new.sum())
