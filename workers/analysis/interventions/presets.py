"""From a layer sweep to presets: which sets of layers to try, and which of all tried to take."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workers.analysis.interventions.settings import CHANGE, STRUCTURE, Setting
from workers.analysis.measures.estimates import Array

HARM = 0.005  # structure that a layer must cost to be left out
FEWER = 0.03  # of the score that may go for fewer layers


class Proposal(NamedTuple):
    """``name``: best, fewest, or best of one edit (its number).

    ``score``: of the structure that the plain video loses, the share that this keeps, times the
    change made. Their sum would call it best to transfer nothing.
    """

    name: str
    layers: tuple[int, ...]
    score: float
    structure: float
    change_made: float


def propose(settings: Sequence[Setting], values: Array, count: int) -> list[tuple[int, ...]]:
    """At most ``count`` sets of layers that the sweep has not made. ``values``: (setting, figure).

    All but those whose absence leaves more structure; and the first few by what each adds alone.
    """
    structure = dict(zip(settings, values[:, STRUCTURE], strict=True))
    of_kind = {each.kind: structure[each] for each in settings}
    every = next(each.layers for each in settings if each.kind == "all")
    gain = {each.layer: structure[each] for each in settings if each.kind == "alone"}
    harm = {
        each.layer: structure[each] - of_kind["all"] for each in settings if each.kind == "without"
    }
    by_gain = sorted(gain, key=lambda layer: -gain[layer])
    by_harm = sorted(harm, key=lambda layer: -harm[layer])
    harmful = {layer for layer in by_harm if harm[layer] > HARM}
    wanted = [set(every) - harmful]
    wanted += [set(by_gain[:few]) for few in (2, 3)]
    wanted += [set(by_gain[: len(every) // 2]) - harmful, set(every) - set(by_harm[:2])]
    wanted += [set(by_gain[:few]) for few in range(4, len(every))]
    made = {each.layers for each in settings}
    sets: list[tuple[int, ...]] = []
    for each in wanted:
        layers = tuple(sorted(each))
        if layers and layers not in made and layers not in sets:
            sets.append(layers)
    return sets[:count]


def choose(settings: Sequence[Setting], values: Array) -> tuple[Proposal, ...]:
    """What to take, of all that were made. ``values``: (edit, setting, figure)."""
    best = _best("best", settings, values.mean(0))
    proposals = [best, _fewest(settings, values.mean(0), best.score)]
    if len(values) > 1:
        proposals += [
            _best(f"best of edit {number}", settings, each) for number, each in enumerate(values)
        ]
    return tuple(proposals)


def _best(name: str, settings: Sequence[Setting], values: Array) -> Proposal:
    made = _proposals(name, settings, values)
    return max(made, key=lambda each: (each.score, -len(each.layers)))


def _fewest(settings: Sequence[Setting], values: Array, best: float) -> Proposal:
    good = [each for each in _proposals("fewest", settings, values) if each.score >= best - FEWER]
    return min(good, key=lambda each: (len(each.layers), -each.score))


def _proposals(name: str, settings: Sequence[Setting], values: Array) -> list[Proposal]:
    """Every setting that transfers something, as a proposal."""
    plain = float(values[[each.kind for each in settings].index("plain"), STRUCTURE])
    found = []
    for setting, figures in zip(settings, values, strict=True):
        structure = float(figures[STRUCTURE])
        # two prompts of the same colours have no change to make, and none to lose
        change = float(np.clip(np.nan_to_num(figures[CHANGE], nan=1.0), 0, 1))
        if setting.layers:
            score = (structure - plain) / max(1 - plain, 1e-6) * change
            found.append(Proposal(name, setting.layers, score, structure, change))
    return found
