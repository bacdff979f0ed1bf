"""What several maps have in common: over sources, steps, layers, branches and models."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from workers.analysis.collector import Collected
from workers.analysis.measures.blocks import SET_DENSITY, jaccard
from workers.analysis.measures.estimates import Array, Measure
from workers.analysis.measures.likeness import DEFINITIONS, Signature, likeness, mean_head
from workers.attention.maps import Address

Measures = dict[str, Measure]
BOXES = (
    "; keys are summed over boxes of the token grid, {boxes} of them (frames, rows, columns), "
    "where there are fewer boxes than tokens, and rows averaged over them where {lines}"
)

BLOCK_SETS = (
    f"|A and B| / |A or B| of the sets of the best {SET_DENSITY:.0%} of the blocks, mean over "
    f"heads; two random sets of that size have {SET_DENSITY / (2 - SET_DENSITY):.2f}"
)


def compare_structure(found: Sequence[Collected], *, same_model: bool) -> Measures:
    """Likeness of maps between sources head by head (of one model), steps, layers and models."""
    measures: Measures = {}
    how = _how(found[0])
    if same_model and len(found) > 1:
        measures |= _between_sources(found, how)
    if len(found[0].plan.steps) > 1:
        measures["overlap_of_steps"] = _between_steps(found, how)
    measures |= _between_layers(found, how)
    return measures


def _how(one: Collected) -> str:
    assert one.plan.boxes is not None
    lines = "there are many maps or grids differ"
    return BOXES.format(boxes=tuple(one.plan.boxes), lines=lines)


def _exact_rows(one: Collected) -> bool:
    """Whether the rows that were looked at are all there are."""
    return one.plan.rows is None or one.plan.rows >= one.grid.tokens


def _between_sources(found: Sequence[Collected], how: str) -> Measures:
    plan = found[0].plan
    heads = len(found[0].heads)
    shape = (len(found), len(found), *_sizes(found[0]), heads)
    names = ("cosine", "overlap")
    arrays = {name: [np.full(shape, np.nan) for _ in range(3)] for name in names}
    sampled = plan.by_row and not _exact_rows(found[0])
    for (a, one), (b, other) in combinations(enumerate(found), 2):
        for address, signature in one.signatures.items():
            if address not in other.signatures:
                continue
            place = _place(one, address)
            alike = likeness(signature, other.signatures[address], sampled=sampled)
            for name, estimate in zip(names, alike, strict=True):
                for array, part in zip(arrays[name], estimate, strict=True):
                    if part is not None:
                        array[a, b, *place] = array[b, a, *place] = part
    axes = ("source", "other_source", "branch", "step", "layer", "head")
    measures = {}
    for name in names:
        unit, text, _ = DEFINITIONS[name]
        for own in range(len(found)):
            arrays[name][0][own, own] = 1.0
        value, low, high = arrays[name]
        interval = (low, high) if sampled else ()
        key = f"{name}_of_sources"
        measures[key] = Measure(key, axes, unit, text + how, value, *interval)
    return measures


def _sizes(one: Collected) -> tuple[int, int, int]:
    return len(one.plan.branches), len(one.plan.steps), len(one.plan.layers)


def _place(one: Collected, address: Address) -> tuple[int, int, int]:
    plan = one.plan
    return (
        plan.branches.index(address.branch),
        plan.steps.index(address.step),
        plan.layers.index(address.layer),
    )


def _between_steps(found: Sequence[Collected], how: str) -> Measure:
    """Of sources whose numbers of steps differ, the first steps that all have."""
    counts = [len(one.plan.steps) for one in found]
    layers = max(len(one.plan.layers) for one in found)
    branches = max(len(one.plan.branches) for one in found)
    values = np.full((len(found), branches, layers, min(counts), min(counts)), np.nan)
    for s, one in enumerate(found):
        plan = one.plan
        for b, branch in enumerate(plan.branches):
            for number, layer in enumerate(plan.layers):
                maps = [
                    one.signatures[Address(step, branch, layer)]
                    for step in plan.steps[: min(counts)]
                ]
                values[s, b, number] = _overlaps(maps, maps)
    unit, text, _ = DEFINITIONS["overlap"]
    return Measure(
        "overlap_of_steps",
        ("source", "branch", "layer", "step", "other_step"),
        unit,
        f"{text}, mean over heads" + how,
        values,
    )


def _between_layers(found: Sequence[Collected], how: str) -> Measures:
    """Of every two sources' layers, and of one source's own, at each step, mean over branches."""
    measures = {}
    unit, text, _ = DEFINITIONS["overlap"]
    for a, b in [(n, n) for n in range(len(found))] + list(combinations(range(len(found)), 2)):
        one, other = found[a], found[b]
        branches = [each for each in one.plan.branches if each in other.plan.branches]
        count = min(len(one.plan.steps), len(other.plan.steps))
        values = np.full((count, len(one.plan.layers), len(other.plan.layers)), np.nan)
        for step in range(count):
            values[step] = np.mean(
                [
                    _overlaps(*(_mean_heads(each, step, branch) for each in (one, other)))
                    for branch in branches
                ],
                axis=0,
            )
        key = f"overlap_of_layers_{a}_{b}"
        definition = (
            f"{text}, of the mean maps of all heads, the layers of source {a} against those of "
            f"source {b}, mean over branches"
        )
        axes = ("step", "layer", "other_layer")
        measures[key] = Measure(key, axes, unit, definition + how, values)
    return measures


def _mean_heads(one: Collected, step: int, branch: str) -> list[Signature]:
    plan = one.plan
    return [
        mean_head(one.signatures[Address(plan.steps[step], known, layer)])
        for known in plan.branches
        if known == branch
        for layer in plan.layers
    ]


def _overlaps(ones: Sequence[Signature], others: Sequence[Signature]) -> Array:
    """Mean overlap of each with each; NaN of two that attend over other grids (Latte)."""
    return np.array(
        [
            [
                likeness(one, other, sampled=False).overlap.value.mean()
                if one.shape[1:] == other.shape[1:]
                else np.nan
                for other in others
            ]
            for one in ones
        ]
    )


def compare_sparsity(found: Sequence[Collected]) -> Measures:
    """Whether the best blocks are the same over steps, branches and sources. Of one grid."""
    plan = found[0].plan
    branches, steps, layers = _sizes(found[0])
    by_steps = np.empty((len(found), branches, layers, steps, steps))
    by_branches = np.empty((len(found), steps, layers))
    by_sources = np.empty((len(found), len(found), branches, steps, layers))
    for s, one in enumerate(found):
        for number, layer in enumerate(plan.layers):
            for b, branch in enumerate(plan.branches):
                at = [Address(step, branch, layer) for step in plan.steps]
                by_steps[s, b, number] = _jaccards(one, at, one, at)
                for o, other in enumerate(found):
                    by_sources[s, o, b, :, number] = _jaccards(one, at, other, at).diagonal()
            first, last = (
                [Address(step, branch, layer) for step in plan.steps]
                for branch in (plan.branches[0], plan.branches[-1])
            )
            by_branches[s, :, number] = _jaccards(one, first, one, last).diagonal()
    values = {
        "blocks_of_steps": (("source", "branch", "layer", "step", "other_step"), by_steps),
        "blocks_of_branches": (("source", "step", "layer"), by_branches),
        "blocks_of_sources": (("source", "other_source", "branch", "step", "layer"), by_sources),
    }
    if branches == 1:
        del values["blocks_of_branches"]
    return {
        name: Measure(name, axes, "1", BLOCK_SETS, each) for name, (axes, each) in values.items()
    }


def _jaccards(
    one: Collected, ones: Sequence[Address], other: Collected, others: Sequence[Address]
) -> Array:
    """Mean over heads of each of ``one``'s block sets with each of ``other``'s."""
    sets = [[at.block_sets[each] for each in among] for at, among in ((one, ones), (other, others))]
    return np.array([[jaccard(a, b).mean() for b in sets[1]] for a in sets[0]])


def compare_sinks(found: Sequence[Collected]) -> Measures:
    """How often a head's first token is the same one, over steps and over sources."""
    tokens = np.stack([one.measures("sinks")["token"].values[..., 0] for one in found])
    text = "share of the {} at which a head's first token is the one that is first at most of them"
    measures = {
        "same_over_steps": Measure(
            "same_over_steps",
            ("source", "branch", "layer", "head"),
            "share",
            text.format("steps"),
            _modal_share(tokens, axis=2),  # (source, branch, step, layer, head)
        )
    }
    if len(found) > 1:
        measures["same_over_sources"] = Measure(
            "same_over_sources",
            ("branch", "step", "layer", "head"),
            "share",
            text.format("sources"),
            _modal_share(tokens, axis=0),
        )
    return measures


def _modal_share(tokens: Array, axis: int) -> Array:
    """The share of the most frequent value along ``axis``."""
    moved = np.moveaxis(tokens, axis, 0)
    counts = (moved[:, None] == moved[None, :]).sum(0)
    share: Array = counts.max(0) / len(moved)
    return share
