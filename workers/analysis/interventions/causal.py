"""The causal test of sparsity: keep a share of one layer's weights, make the video, look at it.

A layer may look sparse and not be: arXiv 2504.10317 finds that some layers whose few largest keys
hold nearly all the weight cannot do without the rest. Only the video shows which.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from schemas.recipes import Generation
from workers.analysis.interventions.changes import EVERYWHERE, Change, Sparsify, Where
from workers.analysis.interventions.distances import DEFINITIONS, Distance, distance
from workers.analysis.interventions.videos import (
    Progress,
    Wish,
    make_videos,
    steps_of,
)
from workers.analysis.measures.estimates import Array, Measure
from workers.analysis.measures.sparsity import DEFINITIONS as SPARSITY
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel

FAR_DB = 6.0  # twice the error
SETS = ("all layers", "all but the dense ones")


@dataclass(frozen=True)
class CausalPlan:
    """``dense_layers``: those that the second test leaves alone; None: those that the first finds
    to cost far more than the others.

    ``control``: each layer also with as many random keys in place of the largest.
    """

    layers: tuple[int, ...]
    densities: tuple[float, ...] = (0.5, 0.2, 0.1)
    temperatures: tuple[float, ...] = (1.0,)
    control: bool = False
    dense_layers: tuple[int, ...] | None = None
    where: Where = EVERYWHERE
    seed: int = 0


class Cell(NamedTuple):
    """One video of the test: ``place`` in the arrays of ``name``."""

    name: str
    place: tuple[int, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Causal:
    """Distances to the video as it is. ``coordinates``: what the measures' axes count.

    ``dense_layers``: those that were left alone in the second test. ``looks_sparse``: those whose
    video is further than their retained mass lets expect: they look sparse and are not.
    ``measures``: psnr, ssim and edges of one layer alone (source, temperature, layer, density), as
    ``alone_psnr`` and so on, ``control_psnr`` with random keys, ``together_psnr`` of all layers
    (source, temperature, set, density), ``floor_psnr`` of the same video made in another batch
    (source); ``retained_mass`` (layer, density), and ``gap`` (layer, density): by how many dB a
    layer's video is further than its mass lets expect.
    """

    plan: CausalPlan
    dense_layers: tuple[int, ...]
    looks_sparse: tuple[int, ...]
    coordinates: dict[str, list[str | int | float]]
    measures: dict[str, Measure]


def causal_steps(generations: Sequence[Generation], plan: CausalPlan, most_in_batch: int) -> int:
    """How many steps of the pipeline the whole test takes."""
    plain = steps_of(generations, most_in_batch)
    first = steps_of(_each(generations, len(_alone(plan))), most_in_batch)
    second = steps_of(_each(generations, len(_together(plan, ()))), most_in_batch)
    return plain + first + second


def _each(generations: Sequence[Generation], times: int) -> list[Generation]:
    return [each for each in generations for _ in range(times)]


def causal_test(
    model: LoadedModel,
    generations: Sequence[Generation],
    masses: Array,
    plan: CausalPlan,
    progress: Progress,
) -> Causal:
    """``masses``: (layer, density), the retained mass of each layer at each density."""
    plain: list[Frames] = [np.empty(0, np.uint8)] * len(generations)
    for number, frames in make_videos(model, [Wish(each) for each in generations], progress):
        plain[number] = frames
    found = _measure(model, generations, plain, _alone(plan), progress)
    alone = found["alone"][..., 0].mean((0, 1))  # psnr (layer, density) of the mean video
    gaps = unexpected_loss(masses, alone)
    dense = plan.dense_layers
    if dense is None:
        dense = _far(plan.layers, np.median(alone, axis=0) - alone)
    found |= _measure(model, generations, plain, _together(plan, dense), progress)
    return Causal(
        plan=plan,
        dense_layers=dense,
        looks_sparse=_far(plan.layers, gaps),
        coordinates={
            "source": list(range(len(generations))),
            "temperature": list(plan.temperatures),
            "layer": list(plan.layers),
            "density": list(plan.densities),
            "set": list(SETS),
        },
        measures=_as_measures(found, masses, gaps),
    )


def _far(layers: Sequence[int], decibels: Array) -> tuple[int, ...]:
    """The layers for which ``decibels`` (layer, density) are too many at some density."""
    return tuple(layer for layer, each in zip(layers, decibels, strict=True) if each.max() > FAR_DB)


def _alone(plan: CausalPlan) -> list[Cell]:
    """Each layer at each density, and the same video once more."""
    cells = [Cell("floor", (), ())]
    for t, temperature in enumerate(plan.temperatures):
        for number, layer in enumerate(plan.layers):
            for d, density in enumerate(plan.densities):
                change = Sparsify(
                    frozenset({layer}), density, temperature, where=plan.where, seed=plan.seed
                )
                cells.append(Cell("alone", (t, number, d), (change,)))
                if plan.control:
                    random = replace(change, keep="random")
                    cells.append(Cell("control", (t, number, d), (random,)))
    return cells


def _together(plan: CausalPlan, dense: tuple[int, ...]) -> list[Cell]:
    sets = (frozenset(plan.layers), frozenset(plan.layers) - frozenset(dense))
    return [
        Cell("together", (t, s, d), (Sparsify(layers, density, temperature, where=plan.where),))
        for t, temperature in enumerate(plan.temperatures)
        for s, layers in enumerate(sets)
        for d, density in enumerate(plan.densities)
    ]


def _measure(
    model: LoadedModel,
    generations: Sequence[Generation],
    plain: Sequence[Frames],
    cells: list[Cell],
    progress: Progress,
) -> dict[str, Array]:
    """Distances of every cell's video of every source to the source's own: (source, …, 3)."""
    pairs = [(s, cell) for s in range(len(generations)) for cell in cells]
    wishes = [Wish(generations[s], cell.changes) for s, cell in pairs]
    shapes: dict[str, tuple[int, ...]] = {}
    for cell in cells:
        last = shapes.get(cell.name, cell.place)
        shapes[cell.name] = tuple(map(max, last, cell.place))
    found = {
        name: np.full((len(generations), *(size + 1 for size in shape), 3), np.nan)
        for name, shape in shapes.items()
    }
    for number, frames in make_videos(model, wishes, progress):
        source, cell = pairs[number]
        found[cell.name][source, *cell.place] = distance(frames, plain[source])
    return found


def unexpected_loss(masses: Array, psnr: Array) -> Array:
    """By how many dB each layer's videos are further than its retained mass lets expect.

    ``masses``, ``psnr``, and what is returned: (layer, density). Expected is the line of PSNR on
    log10(1 - mass) through all layers and densities, by Theil and Sen: the median of all slopes,
    which layers off the line do not turn.
    """
    x = np.log10(np.maximum(1 - masses, 1e-6))
    if x.size < 2 or np.ptp(x) == 0:
        return np.zeros_like(psnr)
    dx = x.ravel()[:, None] - x.ravel()[None, :]
    dy = psnr.ravel()[:, None] - psnr.ravel()[None, :]
    slope = np.median((dy / np.where(dx == 0, 1, dx))[dx != 0])
    start = np.median(psnr - slope * x)
    gaps: Array = start + slope * x - psnr
    return gaps


AXES = {
    "floor": ("source",),
    "alone": ("source", "temperature", "layer", "density"),
    "control": ("source", "temperature", "layer", "density"),
    "together": ("source", "temperature", "set", "density"),
}
OF = {
    "floor": "the same video made in another batch",
    "alone": "the video with one layer kept at the density",
    "control": "the video with one layer kept at the density, of random keys",
    "together": "the video with a set of layers kept at the density",
}
GAP = (
    "by how much the video of a layer alone is further than the line of PSNR on log10(1 - retained "
    "mass) through all layers and densities lets expect (Theil and Sen); a layer for which it is "
    f"above {FAR_DB:g} at some density looks sparse and is not"
)


def _as_measures(found: dict[str, Array], masses: Array, gaps: Array) -> dict[str, Measure]:
    axes = ("layer", "density")
    unit, text, _ = SPARSITY["retained_mass"]
    mass = Measure("retained_mass", axes, unit, f"{text}; mean over heads and runs", masses)
    measures = {"retained_mass": mass, "gap": Measure("gap", axes, "dB", GAP, gaps)}
    for name, values in found.items():
        for place, figure in enumerate(Distance._fields):
            unit, text = DEFINITIONS[figure]
            definition = f"{text}; of {OF[name]} to the video as it is"
            key = f"{name}_{figure}"
            measures[key] = Measure(key, AXES[name], unit, definition, values[..., place])
    return measures
