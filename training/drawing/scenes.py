"""What is in a film: attributes and layout drawn from a seed, as plain numbers.

Owns the catalogue (objects, colours, places, seasons) and the prior over scenes. Pixels are
drawn in `films`, words in `captions`; both read a `Scenes` and add no chance of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OBJECTS = ("car", "truck", "bus", "dog", "cat")
COLOURS = ("red", "blue", "green", "yellow", "white", "brown")
PLACES = ("highway", "grass", "sand")
SEASONS = ("day", "night", "winter")

WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 17, 8

_UNIFORMS = 48  # numbers drawn per seed; more than are used, so that new ones do not move old ones
_VEHICLE_COLOURS = (0.2, 0.2, 0.2, 0.2, 0.2, 0.0)
_ANIMAL_COLOURS = (0.1, 0.1, 0.1, 0.1, 0.25, 0.35)

# the columns of `uniforms` that the layout is read from
_DIRECTION, _SCALE, _TRAVEL, _MIDDLE, _GROUND, _HORIZON = range(4, 10)
_HELD_BY = 43

# what half of the films are held to, by colour (in the order of COLOURS) and by season
_HELD = 1 / 2
_BY_COLOUR = {
    _DIRECTION: ((0.5, 1.0), (0.0, 0.5), (0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.0, 1.0)),
    _SCALE: ((0.4, 1.0), (0.0, 0.6), (0.3, 0.8), (0.1, 0.6), (0.4, 1.0), (0.0, 1.0)),
    _GROUND: ((0.4, 1.0), (0.4, 1.0), (0.0, 0.5), (0.0, 0.6), (0.1, 0.6), (0.0, 1.0)),
}
_BY_SEASON = {
    _HORIZON: ((0.0, 1.0), (0.55, 1.0), (0.0, 0.45)),
    _TRAVEL: ((0.0, 1.0), (0.0, 0.6), (0.3, 1.0)),
}

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def uniforms(seeds: Sequence[int], count: int = _UNIFORMS) -> Floats:
    """Uniform numbers in [0, 1), a function of the seed alone: (len(seeds), count).

    splitmix64 (Steele, Lea, Flood 2014), because it is the same on every machine and version.
    """
    if any(seed < 0 for seed in seeds):
        raise ValueError(f"seeds must be >= 0, got {min(seeds)}")
    base: NDArray[np.uint64] = np.asarray(seeds, dtype=np.uint64)[:, None] * np.uint64(1 << 20)
    with np.errstate(over="ignore"):
        order: NDArray[np.uint64] = np.arange(1, count + 1, dtype=np.uint64)
        z: NDArray[np.uint64] = (base + order) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    numbers: Floats = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes; every array has one entry a film, lengths are in pixels."""

    seeds: tuple[int, ...]
    obj: Ints  # index into OBJECTS
    colour: Ints  # index into COLOURS
    place: Ints  # index into PLACES
    season: Ints  # index into SEASONS
    direction: Ints  # +1 to the right, -1 to the left
    scale: Floats  # pixels a unit of the object's drawing (an object is about 40 units wide)
    travel: Floats  # distance covered over the whole film
    middle: Floats  # x of the object's centre in the middle of the film
    ground: Floats  # y of the ground under the object
    horizon: Floats  # y of the horizon
    gait: Floats  # cycles of the legs a frame
    words: Floats  # (B, 16) chance left for the caption
    scenery: Floats  # (B, 16) chance left for hills, cloud, tree and markings

    def __len__(self) -> int:
        return len(self.seeds)


def _pick(u: Floats, weights: Sequence[float]) -> Ints:
    """Index by weights: u in [0, 1) of shape (B,) to (B,) indices."""
    edges = np.cumsum(weights) / np.sum(weights)
    return np.minimum(np.searchsorted(edges, u, side="right"), len(weights) - 1).astype(np.int64)


def _lean(u: Floats, paint: Ints, when: Ints) -> Floats:
    """Uniforms (B, columns) whose layout leans on the colour and the season.

    In real footage nothing is independent: red cars are not filmed as white ones are, nor
    winters as summers are. So it is here: every second film stands in a range of its own colour
    and season, the others anywhere. A prompt that names an attribute thereby moves the camera,
    as it does in large models.
    """
    leaning = u.copy()
    for table, key in ((_BY_COLOUR, paint), (_BY_SEASON, when)):
        for column, ranges in table.items():
            low, high = np.asarray(ranges)[key].T
            leaning[:, column] = low + (high - low) * u[:, column]
    return np.where(u[:, _HELD_BY, None] < _HELD, leaning, u)


def draw_scenes(
    seeds: Sequence[int],
    obj: str | None = None,
    colour: str | None = None,
    place: str | None = None,
    season: str | None = None,
) -> Scenes:
    """Scenes of these seeds; a named attribute is held fixed, all else stays the seed's.

    Raises:
        ValueError: a negative seed, or an attribute that is not in the catalogue.
    """
    u = uniforms(seeds)
    kind = _pick(u[:, 0], (0.36, 0.18, 0.12, 0.2, 0.14))
    if obj is not None:
        kind = np.full(len(seeds), OBJECTS.index(obj), dtype=np.int64)
    animal = kind >= OBJECTS.index("dog")
    paint = np.where(animal, _pick(u[:, 1], _ANIMAL_COLOURS), _pick(u[:, 1], _VEHICLE_COLOURS))
    where = np.where(animal, _pick(u[:, 2], (0.2, 0.5, 0.3)), _pick(u[:, 2], (0.64, 0.18, 0.18)))
    when = _pick(u[:, 3], (0.5, 0.25, 0.25))
    if colour is not None:
        paint = np.full_like(paint, COLOURS.index(colour))
    if place is not None:
        where = np.full_like(where, PLACES.index(place))
    if season is not None:
        when = np.full_like(when, SEASONS.index(season))
    u = _lean(u, paint, when)
    scale = 0.86 + 0.3 * u[:, _SCALE]
    travel = 10.0 + 28.0 * u[:, _TRAVEL]
    reach = 22.0 * scale + 0.5 * travel  # the object stays inside the picture
    slack = np.maximum(WIDTH / 2 - reach, 0.0)
    return Scenes(
        seeds=tuple(int(seed) for seed in seeds),
        obj=kind,
        colour=paint.astype(np.int64),
        place=where.astype(np.int64),
        season=when,
        direction=np.where(u[:, _DIRECTION] < 0.5, -1, 1).astype(np.int64),
        scale=scale,
        travel=travel,
        middle=WIDTH / 2 + slack * (2.0 * u[:, _MIDDLE] - 1.0),
        ground=47.0 + 9.0 * u[:, _GROUND],
        horizon=20.0 + 10.0 * u[:, _HORIZON],
        gait=0.13 + 0.05 * u[:, 10],
        words=u[:, 11:27],
        scenery=u[:, 27:43],
    )
