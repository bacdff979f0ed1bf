"""Signed distances of the shapes that films are drawn from, and the five objects made of them.

Owns geometry only. Coordinates are the object's own units: x forward, y up, the ground at 0,
about 40 units long. Distances are negative inside; all tensors broadcast to (B, T, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Point = tuple[float, float]
Ink = str  # "paint" (the object's colour) or a fixed ink of films.INKS


@dataclass(frozen=True)
class Part:
    """One shape of an object: its distance, its ink, and whether it has an outline."""

    distance: Tensor  # (B, T, H, W)
    ink: Ink
    outlined: bool


def box(x: Tensor, y: Tensor, centre: Point, half: Point, radius: float = 0.0) -> Tensor:
    """Rounded box."""
    qx = (x - centre[0]).abs() - (half[0] - radius)
    qy = (y - centre[1]).abs() - (half[1] - radius)
    outside = torch.hypot(qx.clamp(min=0), qy.clamp(min=0))
    return outside + torch.maximum(qx, qy).clamp(max=0) - radius


def disc(x: Tensor, y: Tensor, centre: Point, radius: float) -> Tensor:
    """Filled circle."""
    return torch.hypot(x - centre[0], y - centre[1]) - radius


def stroke(
    x: Tensor, y: Tensor, start: Point, end: tuple[float | Tensor, float | Tensor], radius: float
) -> Tensor:
    """Thick line with round ends; the end may move, as (B, T, 1, 1) tensors."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy + 1e-6)
    along = along.clamp(0, 1)
    return torch.hypot(x - start[0] - along * dx, y - start[1] - along * dy) - radius


def polygon(x: Tensor, y: Tensor, corners: Sequence[Point]) -> Tensor:
    """Convex polygon, corners clockwise with y up (exact inside, a bound outside)."""
    distance: Tensor | None = None
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        dx, dy = x1 - x0, y1 - y0
        length = (dx * dx + dy * dy) ** 0.5
        side = ((y - y0) * dx - (x - x0) * dy) / length
        distance = side if distance is None else torch.maximum(distance, side)
    if distance is None:
        raise ValueError("a polygon needs corners")
    return distance


def _wheels(x: Tensor, y: Tensor, places: Sequence[float], radius: float) -> list[Part]:
    parts: list[Part] = []
    for place in places:
        parts.append(Part(disc(x, y, (place, radius), radius), "tyre", True))
        parts.append(Part(disc(x, y, (place, radius), 0.45 * radius), "hub", False))
    return parts


def _car(x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    cabin = polygon(x, y, [(-14.0, 11.0), (-9.0, 20.5), (6.5, 20.5), (13.0, 11.0)])
    body = box(x, y, (0.0, 8.0), (20.5, 5.0), 3.0)
    rear = [(-10.4, 12.6), (-7.6, 18.4), (-1.9, 18.4), (-1.9, 12.6)]
    front = [(0.1, 12.6), (0.1, 18.4), (5.4, 18.4), (9.2, 12.6)]
    return [
        Part(torch.minimum(cabin, body), "paint", True),
        Part(polygon(x, y, rear), "glass", False),
        Part(polygon(x, y, front), "glass", False),
        Part(box(x, y, (18.2, 9.0), (1.6, 1.5), 0.8), "lamp", False),
        *_wheels(x, y, (-11.5, 11.5), 4.8),
    ]


def _truck(x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    return [
        Part(box(x, y, (-6.5, 15.5), (15.5, 10.0), 1.0), "paint", True),
        Part(box(x, y, (15.0, 11.5), (7.0, 7.5), 2.0), "paint", True),
        Part(box(x, y, (0.0, 5.0), (21.0, 1.6), 0.5), "tyre", True),
        Part(box(x, y, (17.0, 14.0), (3.4, 2.8), 0.8), "glass", False),
        Part(box(x, y, (20.2, 7.6), (1.3, 1.3), 0.6), "lamp", False),
        *_wheels(x, y, (-16.5, -7.0, 14.5), 4.4),
    ]


def _bus(x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    windows = [
        Part(box(x, y, (place, 16.8), (3.2, 3.2), 0.6), "glass", False)
        for place in (-16.2, -7.9, 0.4, 8.7)
    ]
    return [
        Part(box(x, y, (0.0, 13.0), (22.5, 10.2), 3.0), "paint", True),
        *windows,
        Part(box(x, y, (17.6, 13.4), (2.6, 6.6), 0.6), "glass", False),
        Part(box(x, y, (20.6, 5.6), (1.2, 1.2), 0.5), "lamp", False),
        *_wheels(x, y, (-13.0, 10.5), 4.4),
    ]


def _legs(x: Tensor, y: Tensor, swing: Tensor, hips: Sequence[Point], radius: float) -> Tensor:
    """Four legs of a run; swing is the gait's phase in radians, (B, T, 1, 1)."""
    distance: Tensor | None = None
    for (hip_x, hip_y), phase in zip(hips, (0.0, 1.1, 3.3, 4.4), strict=True):
        foot_x = hip_x + 5.0 * torch.sin(swing + phase)
        foot_y = 1.2 + 1.6 * torch.cos(swing + phase).clamp(min=0)
        leg = stroke(x, y, (hip_x, hip_y), (foot_x, foot_y), radius)
        distance = leg if distance is None else torch.minimum(distance, leg)
    assert distance is not None
    return distance


def _dog(x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    legs = _legs(x, y, swing, ((-10.0, 10.0), (-7.0, 10.0), (5.0, 10.0), (8.0, 10.0)), 2.1)
    body = stroke(x, y, (-8.5, 14.0), (7.5, 14.5), 6.0)
    neck = stroke(x, y, (8.0, 16.0), (14.0, 21.5), 3.6)
    head = torch.minimum(
        disc(x, y, (14.0, 21.5), 5.2), stroke(x, y, (15.0, 20.5), (21.5, 19.0), 2.7)
    )
    tail = stroke(x, y, (-13.0, 16.5), (-20.0, 23.0), 1.9)
    whole = torch.minimum(torch.minimum(torch.minimum(body, neck), head), torch.minimum(tail, legs))
    return [
        Part(whole, "paint", True),
        Part(stroke(x, y, (11.5, 23.5), (10.0, 17.5), 2.4), "shade", True),
        Part(disc(x, y, (16.3, 22.8), 1.2), "tyre", False),
        Part(disc(x, y, (22.6, 19.6), 1.7), "tyre", True),
    ]


def _cat(x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    legs = _legs(x, y, swing, ((-9.0, 9.0), (-6.5, 9.0), (4.5, 9.0), (7.0, 9.0)), 1.9)
    body = stroke(x, y, (-7.5, 11.5), (6.5, 11.5), 5.2)
    head = disc(x, y, (12.0, 17.5), 6.6)
    ears = torch.minimum(
        polygon(x, y, [(6.0, 20.0), (6.4, 28.5), (12.0, 22.5)]),
        polygon(x, y, [(12.0, 22.5), (17.6, 28.5), (18.0, 20.0)]),
    )
    tail = torch.minimum(
        stroke(x, y, (-11.5, 13.0), (-18.0, 18.0), 1.8),
        stroke(x, y, (-18.0, 18.0), (-16.0, 27.5), 1.8),
    )
    whole = torch.minimum(torch.minimum(body, head), torch.minimum(torch.minimum(ears, tail), legs))
    return [
        Part(whole, "paint", True),
        Part(disc(x, y, (10.0, 18.5), 1.4), "tyre", False),
        Part(disc(x, y, (15.4, 18.5), 1.4), "tyre", False),
        Part(disc(x, y, (12.8, 15.0), 1.1), "nose", False),
    ]


_DRAWERS = {"car": _car, "truck": _truck, "bus": _bus, "dog": _dog, "cat": _cat}


def object_parts(name: str, x: Tensor, y: Tensor, swing: Tensor) -> list[Part]:
    """The parts of an object, back to front; x, y (B, T, H, W) in its units."""
    return _DRAWERS[name](x, y, swing)
