"""Films drawn from scenes: pixels and the object's mask, on any torch device.

Owns colours and the painting order. Every edge is anti-aliased from a signed distance; the
object's outline is dark whatever its colour, so that a recoloured object keeps its edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.drawing.scenes import COLOURS, FRAMES, HEIGHT, OBJECTS, PLACES, SEASONS, WIDTH, Scenes
from training.drawing.shapes import object_parts

Rgb = tuple[float, float, float]

PAINT: dict[str, Rgb] = {
    "red": (0.88, 0.10, 0.12),
    "blue": (0.12, 0.32, 0.92),
    "green": (0.10, 0.68, 0.22),
    "yellow": (0.99, 0.84, 0.10),
    "white": (0.97, 0.97, 0.97),
    "brown": (0.55, 0.33, 0.16),
}
OUTLINE: Rgb = (0.04, 0.04, 0.05)
INKS: dict[str, Rgb] = {
    "tyre": (0.13, 0.13, 0.15),
    "hub": (0.78, 0.78, 0.80),
    "glass": (0.68, 0.88, 0.98),
    "lamp": (1.0, 0.93, 0.55),
    "nose": (0.95, 0.55, 0.60),
}
OUTLINE_WIDTH = 1.5  # pixels
# by season: day, night, winter
SKY_TOP: tuple[Rgb, ...] = ((0.36, 0.68, 0.97), (0.03, 0.04, 0.16), (0.74, 0.79, 0.85))
SKY_LOW: tuple[Rgb, ...] = ((0.74, 0.89, 1.00), (0.12, 0.14, 0.34), (0.90, 0.93, 0.96))
_ROAD: tuple[Rgb, ...] = ((0.50, 0.50, 0.53), (0.36, 0.36, 0.47), (0.68, 0.71, 0.77))
SOIL_GREEN: tuple[Rgb, ...] = ((0.50, 0.78, 0.34), (0.20, 0.37, 0.36), (0.95, 0.96, 0.98))
SOIL_SAND: tuple[Rgb, ...] = ((0.93, 0.80, 0.54), (0.44, 0.39, 0.43), (0.96, 0.95, 0.93))
_HILL: tuple[Rgb, ...] = ((0.30, 0.58, 0.30), (0.12, 0.22, 0.28), (0.70, 0.78, 0.88))
_DUNE: tuple[Rgb, ...] = ((0.80, 0.62, 0.36), (0.30, 0.25, 0.33), (0.74, 0.77, 0.83))
_LEAF: tuple[Rgb, ...] = ((0.16, 0.45, 0.20), (0.05, 0.12, 0.14), (0.58, 0.72, 0.76))
LIGHT = (1.0, 0.86, 1.0)  # how bright an object is by season


@dataclass(frozen=True)
class Films:
    """Drawn films and their ground truth."""

    pixels: Tensor  # (B, 3, T, H, W) in [0, 1]
    mask: Tensor  # (B, T, H, W) in [0, 1], the object's cover
    scenes: Scenes


def _column(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def _table(rows: tuple[Rgb, ...], index: Tensor) -> Tensor:
    """Colours by index: (B,) to (B, 3, 1, 1)."""
    return torch.tensor(rows, device=index.device)[index].view(-1, 3, 1, 1)


def _over(image: Tensor, colour: Tensor, distance: Tensor) -> Tensor:
    """Paint where the distance (pixels) is negative: image (B, 3, ...), distance (B, ...)."""
    return torch.lerp(image, colour.expand_as(image), (0.5 - distance).clamp(0, 1).unsqueeze(1))


def _background(scenes: Scenes, device: torch.device) -> Tensor:
    """Sky, sun or moon, cloud, hills, tree, ground and its markings: (B, 3, H, W)."""
    u = [_column(scenes.scenery[:, k], device) for k in range(16)]
    season = torch.as_tensor(scenes.season, device=device)
    place = torch.as_tensor(scenes.place, device=device)
    horizon, ground = _column(scenes.horizon, device), _column(scenes.ground, device)
    y = (torch.arange(HEIGHT, device=device) + 0.5).view(1, -1, 1).expand(len(scenes), -1, WIDTH)
    x = (torch.arange(WIDTH, device=device) + 0.5).view(1, 1, -1).expand(len(scenes), HEIGHT, -1)
    sand = (place == PLACES.index("sand")).view(-1, 1, 1, 1)
    night = (season == SEASONS.index("night")).view(-1, 1, 1)
    winter = (season == SEASONS.index("winter")).view(-1, 1, 1)

    fade = (y / horizon).clamp(0, 1).unsqueeze(1)
    image = torch.lerp(_table(SKY_TOP, season), _table(SKY_LOW, season), fade)
    orb = torch.hypot(x - 8 - 80 * u[0], y - 5 - 5 * u[1]) - 4.0
    disc_colour = _table(((1.0, 0.90, 0.30), (0.96, 0.95, 0.84), (0.98, 0.97, 0.90)), season)
    image = _over(image, disc_colour, orb + 99.0 * winter)
    cloud_x, cloud_y = 10 + 76 * u[2], 6 + 5 * u[3]
    cloud = torch.minimum(
        torch.hypot(x - cloud_x, y - cloud_y) - 3.6,
        torch.minimum(
            torch.hypot(x - cloud_x - 4.5, y - cloud_y - 1) - 2.8,
            torch.hypot(x - cloud_x + 4.5, y - cloud_y - 1) - 2.8,
        ),
    )
    cloud_colour = _table(((1.0, 1.0, 1.0), (0.20, 0.22, 0.40), (0.99, 0.99, 1.0)), season)
    image = _over(image, cloud_colour, cloud)

    ridge = 3.5 + 2.5 * torch.sin(x / (7 + 5 * u[4]) + 6.28 * u[5])
    ridge = ridge + 1.5 * torch.sin(x / (3.5 + 2 * u[6]) + 6.28 * u[7])
    hills = torch.where(sand, _table(_DUNE, season), _table(_HILL, season))
    image = _over(image, hills, horizon - ridge - y)
    soil = torch.where(sand, _table(SOIL_SAND, season), _table(SOIL_GREEN, season))
    image = _over(image, soil, horizon - y)

    tree_x, foot = 8 + 80 * u[8], horizon + 2.5
    trunk = torch.maximum((x - tree_x).abs() - 1.1, (y - foot + 4.5).abs() - 4.5)
    image = _over(
        image, _table(((0.36, 0.22, 0.12),) * 3, season) * (1 - 0.5 * night.unsqueeze(1)), trunk
    )
    crown = torch.hypot(x - tree_x, y - foot + 11) - 5.2
    palm = torch.hypot((x - tree_x) / 1.7, y - foot + 10.5) - 3.0  # broad and low on the sand
    image = _over(image, _table(_LEAF, season), torch.where(sand.view(-1, 1, 1), palm, crown))
    return _markings(image, x, y, ground, u, season, place)


def _markings(
    image: Tensor,
    x: Tensor,
    y: Tensor,
    ground: Tensor,
    u: list[Tensor],
    season: Tensor,
    place: Tensor,
) -> Tensor:
    """The road with its lines, or tufts and ripples: image (B, 3, H, W)."""
    off = 999.0 * (place != PLACES.index("highway")).view(-1, 1, 1)
    band = (y - ground - 1.0).abs() - 8.0 + off
    image = _over(image, _table(_ROAD, season), band)
    pale = _table(((0.97, 0.97, 0.97), (0.68, 0.68, 0.74), (0.99, 0.99, 0.99)), season)
    image = _over(image, pale, ((band - off + 0.9).abs() - 0.7).clamp(min=-0.5) + off)
    period = 20.0
    dash = ((x + period * u[9]) % period - period / 2).abs() - 5.0
    dash = torch.maximum(dash, (y - ground - 4.2).abs() - 0.8) + off
    image = _over(image, pale, dash)

    grass = place == PLACES.index("grass")
    dark = _table(((0.36, 0.62, 0.24), (0.13, 0.27, 0.27), (0.80, 0.86, 0.93)), season)
    ripple = _table(((0.80, 0.65, 0.40), (0.35, 0.30, 0.35), (0.84, 0.86, 0.89)), season)
    ink = torch.where(grass.view(-1, 1, 1, 1), dark, ripple)
    wide = torch.where(grass, 0.7, 4.5).view(-1, 1, 1)
    tall = torch.where(grass, 2.0, 0.5).view(-1, 1, 1)
    road = 999.0 * (place == PLACES.index("highway")).view(-1, 1, 1)
    for k in range(5):
        mark_x = (96.0 * u[10] + 21.0 * k + 9.0 * u[11 + k % 4]) % 96.0
        mark_y = ground - 9.0 + (17.0 * ((0.37 * k + u[15]) % 1.0))
        mark = torch.maximum((x - mark_x).abs() - wide, (y - mark_y).abs() - tall)
        image = _over(image, ink, mark + road)
    return image


def _paint_object(
    image: Tensor, name: str, scenes: Scenes, rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """One kind of object over its films: image (b, 3, T, H, W) to (painted, mask (b, T, H, W))."""
    device = image.device
    lengths = (scenes.scale, scenes.travel, scenes.middle, scenes.ground, scenes.gait)
    take = [_column(values[rows], device).unsqueeze(-1) for values in (*lengths, scenes.direction)]
    scale, travel, middle, ground, gait, direction = take  # each (b, 1, 1, 1)
    frame = torch.arange(FRAMES, device=device, dtype=torch.float32).view(1, -1, 1, 1)
    swing = 2 * math.pi * gait * frame  # (b, T, 1, 1)
    centre = middle + direction * travel * (frame / (FRAMES - 1) - 0.5)
    lift = 1.2 * torch.sin(swing).abs() if name in ("dog", "cat") else 0.0 * swing
    pixel_x = (torch.arange(WIDTH, device=device) + 0.5).view(1, 1, 1, -1)
    pixel_y = (torch.arange(HEIGHT, device=device) + 0.5).view(1, 1, -1, 1)
    x = ((pixel_x - centre) * direction / scale).expand(-1, -1, HEIGHT, -1)
    y = ((ground - lift - pixel_y) / scale).expand(-1, -1, -1, WIDTH)

    season = torch.as_tensor(scenes.season[rows], device=device)
    light = torch.tensor(LIGHT, device=device)[season].view(-1, 1, 1, 1, 1)
    colour = torch.as_tensor(scenes.colour[rows], device=device)
    paint = torch.tensor([PAINT[c] for c in COLOURS], device=device)[colour].view(-1, 3, 1, 1, 1)
    inks = {key: torch.tensor(rgb, device=device).view(1, 3, 1, 1, 1) for key, rgb in INKS.items()}
    inks |= {"paint": paint, "shade": 0.72 * paint}
    outline = torch.tensor(OUTLINE, device=device).view(1, 3, 1, 1, 1)
    parts = object_parts(name, x, y, swing)
    cover: Tensor | None = None
    for part in parts:
        distance = part.distance * scale
        if part.outlined:
            cover = distance if cover is None else torch.minimum(cover, distance)
            image = _over(image, outline, distance)
            distance = distance + OUTLINE_WIDTH
        ink = inks[part.ink] if part.ink == "lamp" else inks[part.ink] * light
        image = _over(image, ink, distance)
    assert cover is not None
    return image, (0.5 - cover).clamp(0, 1)


@torch.no_grad()
def draw_still(scenes: Scenes, device: str | torch.device = "cpu") -> Tensor:
    """The scenes without their objects: (B, 3, H, W) in [0, 1]."""
    return _background(scenes, torch.device(device))


@torch.no_grad()
def draw_films(scenes: Scenes, device: str | torch.device = "cpu") -> Films:
    """Draw a batch of scenes, 17 frames of 96x64 each.

    Args:
        scenes: what to draw; a film is a function of its own seed, whatever else is in the batch.
        device: where to draw; devices agree to rounding.
    """
    place = torch.device(device)
    still = _background(scenes, place)
    pixels = still.unsqueeze(2).repeat(1, 1, FRAMES, 1, 1)
    mask = torch.zeros(len(scenes), FRAMES, HEIGHT, WIDTH, device=place)
    for index, name in enumerate(OBJECTS):
        rows = np.flatnonzero(scenes.obj == index)
        if rows.size:
            where = torch.as_tensor(rows, device=place)
            pixels[where], mask[where] = _paint_object(pixels[where], name, scenes, rows)
    return Films(pixels=pixels, mask=mask, scenes=scenes)
