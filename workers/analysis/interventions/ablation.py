"""Sink ablation: take the strongest sinks out, make the video, and do the same to random tokens.

Taking any token out moves the picture, so what a sink does is what it does beyond as many random
ones in the same heads (arXiv 2605.09313).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from schemas.recipes import Generation
from workers.analysis.interventions.changes import AblateColumns, AblateHeads, Change
from workers.analysis.interventions.distances import DEFINITIONS, Distance, distance
from workers.analysis.interventions.videos import Progress, Wish, make_videos, steps_of
from workers.analysis.measures.estimates import Array, Estimate, Measure, percentiles
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel

How = Literal["column out", "value zero", "head out"]
HOW: tuple[How, ...] = ("column out", "value zero", "head out")
REPEATS = 2000


class Sink(NamedTuple):
    """A token that a head's queries see. ``strength``: times chance."""

    layer: int
    head: int
    token: int
    strength: float


@dataclass(frozen=True)
class AblationPlan:
    """``sinks``: taken out one by one and all together. ``controls``: random draws for each.

    ``tokens``: the video's; ``heads``: of a layer.
    """

    sinks: tuple[Sink, ...]
    tokens: int
    heads: int
    controls: int = 3
    seed: int = 0

    @property
    def targets(self) -> list[tuple[Sink, ...]]:
        alone: list[tuple[Sink, ...]] = [(sink,) for sink in self.sinks]
        return alone if len(alone) == 1 else [*alone, self.sinks]


@dataclass(frozen=True)
class Ablation:
    """``measures``: distances to the video as it is, ``sink_psnr`` (source, target, how) and so on,
    ``control_psnr`` (source, target, how, draw), and ``difference_psnr`` (target, how), the mean of
    sink less control with its interval."""

    plan: AblationPlan
    coordinates: dict[str, list[str | int | float]]
    measures: dict[str, Measure]


def strongest_sinks(
    strength: Array,
    token: Array,
    layers: Sequence[int],
    heads: Sequence[int],
    count: int,
) -> list[Sink]:
    """The ``count`` strongest, one a head. ``strength``, ``token``: (place, layer, head), the first
    token of each head and how strong it is, at many places (steps, branches, sources).

    A head's sink is the token that is first at most places, and its strength the mean over all
    places, those where it is not first counting nothing.
    """
    found = []
    for number, layer in enumerate(layers):
        for place, head in enumerate(heads):
            tokens, values = token[:, number, place].astype(int), strength[:, number, place]
            counts = np.bincount(tokens)
            best = int(counts.argmax())
            mean = float(np.where(tokens == best, values, 0).mean())
            found.append(Sink(layer, head, best, mean))
    return sorted(found, key=lambda each: -each.strength)[:count]


class Cell(NamedTuple):
    """One video. ``draw`` None: of the sinks, else the number of the random draw."""

    target: int
    how: int
    draw: int | None
    change: Change


def ablation_cells(plan: AblationPlan) -> list[Cell]:
    """Every video of the test, of one source."""
    rng = np.random.default_rng(plan.seed)
    cells = []
    for t, target in enumerate(plan.targets):
        for h, how in enumerate(HOW):
            cells.append(Cell(t, h, None, _change(how, target)))
            for draw in range(plan.controls):
                cells.append(Cell(t, h, draw, _change(how, _random(how, target, plan, rng))))
    return cells


def _change(how: How, target: Sequence[Sink]) -> Change:
    if how == "head out":
        return AblateHeads(frozenset((sink.layer, sink.head) for sink in target))
    columns: dict[tuple[int, int], tuple[int, ...]] = {}
    for sink in target:
        place = sink.layer, sink.head
        columns[place] = (*columns.get(place, ()), sink.token)
    return AblateColumns(columns, "out" if how == "column out" else "value")


def _random(
    how: How, target: Sequence[Sink], plan: AblationPlan, rng: np.random.Generator
) -> list[Sink]:
    """As many random tokens of the same heads, or random other heads of the same layers."""
    if how != "head out":
        return [
            sink._replace(token=int(rng.choice(np.delete(np.arange(plan.tokens), sink.token))))
            for sink in target
        ]
    drawn: list[Sink] = []
    for sink in target:
        taken = {each.head for each in (*target, *drawn) if each.layer == sink.layer}
        others = [head for head in range(plan.heads) if head not in taken]
        # a layer all of whose heads have a sink leaves none else: then any but the sink's own
        others = others or [head for head in range(plan.heads) if head != sink.head]
        drawn.append(sink._replace(head=int(rng.choice(others or [sink.head]))))
    return drawn


def ablation_steps(
    generations: Sequence[Generation], plan: AblationPlan, most_in_batch: int
) -> int:
    """How many steps of the pipeline the whole test takes."""
    per_source = len(ablation_cells(plan))
    wishes = [each for each in generations for _ in range(per_source)]
    return steps_of(generations, most_in_batch) + steps_of(wishes, most_in_batch)


def ablate_sinks(
    model: LoadedModel,
    generations: Sequence[Generation],
    plan: AblationPlan,
    progress: Progress,
) -> Ablation:
    plain: list[Frames] = [np.empty(0, np.uint8)] * len(generations)
    for number, frames in make_videos(model, [Wish(each) for each in generations], progress):
        plain[number] = frames
    cells = ablation_cells(plan)
    pairs = [(s, cell) for s in range(len(generations)) for cell in cells]
    shape = (len(generations), len(plan.targets), len(HOW))
    sinks = np.full((*shape, 3), np.nan)
    controls = np.full((*shape, plan.controls, 3), np.nan)
    wishes = [Wish(generations[s], (cell.change,)) for s, cell in pairs]
    for number, frames in make_videos(model, wishes, progress):
        source, cell = pairs[number]
        far = distance(frames, plain[source])
        if cell.draw is None:
            sinks[source, cell.target, cell.how] = far
        else:
            controls[source, cell.target, cell.how, cell.draw] = far
    return Ablation(
        plan=plan,
        coordinates={
            "source": list(range(len(generations))),
            "target": [_label(target) for target in plan.targets],
            "how": list(HOW),
            "draw": list(range(plan.controls)),
        },
        measures=_as_measures(sinks, controls, plan.seed),
    )


def _label(target: Sequence[Sink]) -> str:
    if len(target) > 1:
        return "all of them"
    (sink,) = target
    return f"layer {sink.layer}, head {sink.head}, token {sink.token}"


def difference(sinks: Array, controls: Array, seed: int = 0) -> Estimate:
    """Mean of sink less control with its bootstrap interval: sources are drawn, and within each its
    controls. ``sinks``: (source, …). ``controls``: (source, …, draw)."""
    each = sinks[..., None] - controls
    rng = np.random.default_rng(seed)
    sources, draws = len(each), each.shape[-1]
    resampled = np.empty((REPEATS, *each.shape[1:-1]))
    for repeat in range(REPEATS):
        drawn = rng.integers(sources, size=sources)
        parts = [each[source][..., rng.integers(draws, size=draws)].mean(-1) for source in drawn]
        resampled[repeat] = np.mean(parts, axis=0)
    return percentiles(each.mean((0, -1)), resampled)


def _as_measures(sinks: Array, controls: Array, seed: int) -> dict[str, Measure]:
    measures = {}
    of = {
        "sink": "the video without the sinks to the video as it is",
        "control": "the video without as many random tokens of the same heads (or random heads of "
        "the same layers) to the video as it is",
        "difference": "mean over sources and draws of sink less control; the interval is a "
        "bootstrap over sources, and draws within them",
    }
    for place, figure in enumerate(Distance._fields):
        unit, text = DEFINITIONS[figure]
        beyond = difference(sinks[..., place], controls[..., place], seed)
        for name, axes, values in (
            ("sink", ("source", "target", "how"), Estimate(sinks[..., place])),
            ("control", ("source", "target", "how", "draw"), Estimate(controls[..., place])),
            ("difference", ("target", "how"), beyond),
        ):
            key = f"{name}_{figure}"
            measures[key] = Measure(key, axes, unit, f"{text}; {of[name]}", *values)
    return measures
