"""Is the object of a film whole? The drawn object that fits best says so.

Owns the search for it and the measure. Objects are known shapes in known inks, only their place,
size, direction and paint are free; a torn or half-made object fits none of them. Neither a
classifier nor the correlation of edges sees that: half a car is still a car, and a smear in the
right place has the right edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from training.drawing.films import INKS, LIGHT, OUTLINE, OUTLINE_WIDTH
from training.drawing.scenes import HEIGHT, WIDTH
from training.drawing.shapes import object_parts

FRAMES = (0, 4, 8, 12, 16)  # of a film that are looked at
_SCALES = [0.80 + 0.04 * k for k in range(12)]  # `scenes` draws 0.86 to 1.16
_GROUND = 48.0  # where the templates stand
_SIZE = (2 * HEIGHT, 2 * WIDTH)  # of the correlation: no wrap-around
_SMALLEST = 20  # pixels of a mask that is worth fitting

_WHOLE_OUTLINE, _WHOLE_INSIDE = 0.85, 0.5  # set by hand, see docs/experiments/model.md


@dataclass(frozen=True)
class Fit:
    """How well whole objects fit, (B, len(FRAMES)) each; 1 is a perfect fit."""

    outline: Tensor  # intersection over union of the mask and the object's silhouette
    inside: Tensor  # share of the pixels' variance in the silhouette that its inks explain


@dataclass(frozen=True)
class _Poses:
    """Poses of an object, (K,) each: pixels a unit, +1 or -1, pixels, pixels, radians."""

    scale: Tensor
    direction: Tensor
    middle: Tensor
    ground: Tensor
    swing: Tensor

    def stack(self) -> Tensor:
        """(K, 5)."""
        return torch.stack(
            [self.scale, self.direction, self.middle, self.ground, self.swing], dim=1
        )


@dataclass(frozen=True)
class _Rendered:
    """Objects in a paint p: p * paint + inks where cover is 1; (K, H, W) or (K, 3, H, W)."""

    paint: Tensor
    inks: Tensor
    cover: Tensor


def _render(name: str, poses: _Poses) -> _Rendered:
    """The object alone, as `films` draws it, by how much of each pixel is paint."""
    device = poses.scale.device
    scale, direction, middle, ground, swing = poses.stack().T.reshape(5, -1, 1, 1, 1)
    pixel_x = (torch.arange(WIDTH, device=device) + 0.5).view(1, 1, 1, -1)
    pixel_y = (torch.arange(HEIGHT, device=device) + 0.5).view(1, 1, -1, 1)
    x = ((pixel_x - middle) * direction / scale).expand(-1, -1, HEIGHT, -1)
    y = ((ground - pixel_y) / scale).expand(-1, -1, -1, WIDTH)
    paint = x.new_zeros(x[:, 0].shape)
    inks = x.new_zeros(len(x), 3, HEIGHT, WIDTH)
    cover: Tensor | None = None
    for part in object_parts(name, x, y, swing):
        distance = part.distance[:, 0] * scale[:, 0]
        layers = [(part.ink, distance)]
        if part.outlined:
            cover = distance if cover is None else torch.minimum(cover, distance)
            layers = [("outline", distance), (part.ink, distance + OUTLINE_WIDTH)]
        for ink, edge in layers:
            over = (0.5 - edge).clamp(0, 1)  # (K, H, W)
            paint = torch.lerp(paint, paint.new_tensor(_PAINT_SHARE.get(ink, 0.0)), over)
            colour = x.new_tensor(_COLOURS.get(ink, (0.0, 0.0, 0.0))).view(1, 3, 1, 1)
            inks = torch.lerp(inks, colour, over.unsqueeze(1))
    assert cover is not None
    return _Rendered(paint, inks, (0.5 - cover).clamp(0, 1))


_PAINT_SHARE = {"paint": 1.0, "shade": 0.72}
_COLOURS = INKS | {"outline": OUTLINE}


def _swings(name: str) -> list[float]:
    """Phases of a gait that are tried."""
    return [k * math.pi / 3 for k in range(6)] if name in ("dog", "cat") else [0.0]


@cache
def _templates(name: str, device: torch.device) -> tuple[_Poses, Tensor, Tensor]:
    """Poses in the middle of the picture, their silhouettes' spectra (K, ...) and areas (K,)."""
    rows = [(s, d, w) for s in _SCALES for d in (1.0, -1.0) for w in _swings(name)]
    scale, direction, swing = torch.tensor(rows, device=device).T
    middle, ground = torch.full_like(scale, WIDTH / 2), torch.full_like(scale, _GROUND)
    poses = _Poses(scale, direction, middle, ground, swing)
    silhouettes = (_render(name, poses).cover > 0.5).float()
    return poses, torch.fft.rfft2(silhouettes, s=_SIZE).conj(), silhouettes.sum((1, 2))


def _match_outline(name: str, mask: Tensor) -> tuple[Tensor, _Poses]:
    """The best silhouette for each mask (P, H, W): its overlap (P,) and its pose."""
    poses, spectra, areas = _templates(name, mask.device)
    spectrum = torch.fft.rfft2(mask.float(), s=_SIZE)  # (P, ...)
    both = torch.fft.irfft2(spectrum.unsqueeze(1) * spectra, s=_SIZE)  # (P, K, 2H, 2W)
    own = mask.flatten(1).sum(1).view(-1, 1, 1, 1)
    overlap = both / (own + areas.view(1, -1, 1, 1) - both)
    best, index = overlap.flatten(1).max(1)
    which, place = index // (_SIZE[0] * _SIZE[1]), index % (_SIZE[0] * _SIZE[1])
    down, right = place // _SIZE[1], place % _SIZE[1]
    down = torch.where(down > HEIGHT, down - _SIZE[0], down)
    right = torch.where(right > WIDTH, right - _SIZE[1], right)
    pose = _Poses(
        scale=poses.scale[which],
        direction=poses.direction[which],
        middle=poses.middle[which] + right,
        ground=poses.ground[which] + down,
        swing=poses.swing[which],
    )
    return best, pose


def _nearby(name: str, pose: _Poses) -> _Poses:
    """Poses between those that were tried: (P,) to (P * K,)."""
    swings = (-0.35, 0.0, 0.35) if len(_swings(name)) > 1 else (0.0,)
    half = (-0.5, 0.0, 0.5)
    steps = pose.scale.new_tensor(
        [(s, 0.0, x, y, w) for s in (-0.02, 0.0, 0.02) for x in half for y in half for w in swings]
    )
    return _Poses(*(pose.stack().unsqueeze(1) + steps).flatten(0, 1).T)


def _match_inside(name: str, frames: Tensor, pose: _Poses) -> Tensor:
    """How well the object's inks explain frames (P, 3, H, W) in its silhouette: (P,), at most 1."""
    drawn = _render(name, _nearby(name, pose))
    tries = len(drawn.cover) // len(frames)
    pixels = frames.repeat_interleave(tries, dim=0)
    weight, paint = drawn.cover.unsqueeze(1), drawn.paint.unsqueeze(1)
    area = weight.sum((2, 3)).clamp(min=1)
    mean = (pixels * weight).sum((2, 3)) / area  # (P * K, 3)
    spread = ((pixels - mean[..., None, None]).square() * weight).sum((1, 2, 3)).clamp(min=1e-6)
    explained = []
    for light in sorted(set(LIGHT)):
        rest = pixels - light * drawn.inks
        # least squares over the silhouette, one paint a film and channel
        own = (rest * paint * weight).sum((2, 3)) / (paint.square() * weight).sum((2, 3))
        error = (rest - own.clamp(0, 1)[..., None, None] * paint).square() * weight
        explained.append(1 - error.sum((1, 2, 3)) / spread)
    return torch.stack(explained).amax(0).view(-1, tries).amax(1)


@torch.no_grad()
def fit_object(
    films: Tensor, mask: Tensor, name: str, frames: Sequence[int] = FRAMES, batch: int = 32
) -> Fit:
    """Fit whole objects of a kind to films.

    Args:
        films: (B, 3, T, H, W) in [0, 1].
        mask: (B, T, H, W) bool, where the object is.
        name: which of `scenes.OBJECTS` it should be.
        frames: which frames to look at.
        batch: frames at a time.
    """
    picked = list(frames)
    pixels = films[:, :, picked].transpose(1, 2).flatten(0, 1)  # (B * F, 3, H, W)
    masks = mask[:, picked].flatten(0, 1)
    outlines, insides = [], []
    for part, where in zip(torch.split(pixels, batch), torch.split(masks, batch), strict=True):
        outline, pose = _match_outline(name, where)
        inside = _match_inside(name, part, pose)
        seen = where.flatten(1).sum(1) >= _SMALLEST
        outlines.append(torch.where(seen, outline, 0.0))
        insides.append(torch.where(seen, inside, 0.0))
    shape = (len(films), len(picked))
    return Fit(torch.cat(outlines).view(shape), torch.cat(insides).view(shape))


def is_whole(fit: Fit) -> Tensor:
    """Whether the object is whole in every frame that was looked at: (B,) bool."""
    whole = (fit.outline >= _WHOLE_OUTLINE) & (fit.inside >= _WHOLE_INSIDE)
    return whole.all(dim=1)
