"""The tables of docs/analysis.md, from an analysis' result as JSON."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Result = dict[str, Any]
Tables = dict[str, str]


def markdown(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


class Measured:
    """A measure of a result, reduced by the names of its axes."""

    def __init__(self, measure: dict[str, Any]) -> None:
        self.axes: list[str] = measure["axes"]
        self.values = np.array(measure["values"], dtype=float)
        self.low = np.array(measure["low"], dtype=float) if "low" in measure else None
        self.high = np.array(measure["high"], dtype=float) if "high" in measure else None

    def by(self, *kept: str) -> Any:
        """The mean over all axes but those ``kept``."""
        gone = tuple(n for n, axis in enumerate(self.axes) if axis not in kept)
        return np.nanmean(self.values, axis=gone)


def of_sources(result: Result, finding: str, name: str, *kept: str) -> Any:
    """The mean over sources too."""
    each = [Measured(source["measures"][finding][name]).by(*kept) for source in result["sources"]]
    return np.mean(each, axis=0)


def structure(result: Result) -> Tables:
    source = result["sources"][0]
    frames, rows, columns = source["grid"]
    diagonal = float(np.hypot(rows - 1, columns - 1))
    names = (
        "own_frame_share", "frame_distance", "patch_distance", "frame_slope", "frame_fit",
        "patch_slope", "patch_fit", "head_class",
    )  # fmt: skip
    by = {name: of_sources(result, "structure", name, "layer") for name in names}
    prompts, seeds = _pairs(result)
    steps = Measured(result["comparisons"]["overlap_of_steps"]).by("layer", "step", "other_step")
    table = [
        [
            layer,
            f"{by['own_frame_share'][n]:.2f}",
            f"{by['frame_distance'][n] * (frames - 1):.2f}",
            f"{by['patch_distance'][n] * diagonal:.1f}",
            f"{by['frame_slope'][n]:.2f} ({by['frame_fit'][n]:.2f})",
            f"{by['patch_slope'][n]:.2f} ({by['patch_fit'][n]:.2f})",
            f"{by['head_class'][n]:.2f}",
            f"{prompts[n]:.2f}",
            f"{seeds[n]:.2f}",
            f"{steps[n, 0, -1]:.2f}",
        ]
        for n, layer in enumerate(source["coordinates"]["layer"])
    ]
    head = (
        "layer", "own frame", "frames away", "patches away", "slope a frame (R²)",
        "slope a patch (R²)", "frame-local heads", "two prompts", "two seeds",
        "first and last step",
    )  # fmt: skip
    return {"by layer": markdown(head, table), "layers": _layers(result)}


def _pairs(result: Result) -> tuple[Any, Any]:
    """Overlap by layer of sources that differ in their prompt alone, and in their seed alone."""
    overlap = Measured(result["comparisons"]["overlap_of_sources"])
    values = overlap.by("source", "other_source", "layer")
    prompts, seeds = [], []
    for a, one in enumerate(result["sources"]):
        for b, other in enumerate(result["sources"][:a]):
            same_prompt, same_seed = (one[name] == other[name] for name in ("prompt", "seed"))
            if same_seed and not same_prompt:
                prompts.append(values[a, b])
            if same_prompt and not same_seed:
                seeds.append(values[a, b])
    return np.mean(prompts, axis=0), np.mean(seeds, axis=0)


def _layers(result: Result) -> str:
    values = Measured(result["comparisons"]["overlap_of_layers_0_0"]).by("layer", "other_layer")
    others = values[~np.eye(len(values), dtype=bool)]
    return f"Overlap of two layers' mean maps: {others.min():.2f} to {others.max():.2f}."


def sparsity(result: Result) -> Tables:
    experiment = result["experiment"]
    measures = {name: Measured(each) for name, each in experiment["measures"].items()}
    densities = experiment["coordinates"]["density"]
    source = result["sources"][0]["coordinates"]
    mass = of_sources(result, "sparsity", "retained_mass", "layer", "density")
    needed = of_sources(result, "sparsity", "density_for_mass", "layer", "mass")
    recall = of_sources(result, "sparsity", "block_recall", "layer", "density")
    alone, control = (
        measures[f"{name}_psnr"].values[:, 0].mean(0) for name in ("alone", "control")
    )
    gap = measures["gap"].values.max(-1)
    at = source["density"].index
    rows = [
        [
            f"**{layer}**" if layer in experiment["found"]["dense_layers"] else layer,
            f"{mass[n, at(0.3)]:.2f}",
            f"{needed[n, source['mass'].index(0.9)]:.2f}",
            f"{recall[n, at(0.2)]:.2f}",
            *(f"{alone[n, d]:.0f} / {control[n, d]:.0f}" for d in range(len(densities))),
            f"{gap[n]:+.0f}",
        ]
        for n, layer in enumerate(source["layer"])
    ]
    head = ["layer", "mass at 30%", "keys for 90%", "block recall at 20%"]
    head += [f"kept at {density:.0%}" for density in densities]
    return {
        "by layer": markdown([*head, "gap, dB"], rows),
        "together": _together(experiment, measures),
        "blocks": _same_blocks(result),
    }


def _together(experiment: Any, measures: dict[str, Measured]) -> str:
    coordinates = experiment["coordinates"]
    psnr, edges = (measures[f"together_{name}"].values.mean(0) for name in ("psnr", "edges"))
    floor = float(measures["floor_psnr"].values.mean())
    dense = ", ".join(map(str, experiment["found"]["dense_layers"])) or "none"
    rows = []
    for s, name in enumerate(("all layers", f"all but {dense}")):
        for t, temperature in enumerate(coordinates["temperature"]):
            cells = [f"{p:.1f} / {e:.2f}" for p, e in zip(psnr[t, s], edges[t, s], strict=True)]
            rows.append([name, f"{temperature:g}", *cells])
    head = ("layers", "temperature", *(f"{density:.0%}" for density in coordinates["density"]))
    note = f"PSNR in dB / correlation of edges. The same video in another batch: {floor:.0f} dB."
    return f"{markdown(head, rows)}\n\n{note}"


def _same_blocks(result: Result) -> str:
    found = result["comparisons"]
    branches = Measured(found["blocks_of_branches"]).by("layer")
    sources = Measured(found["blocks_of_sources"]).by("source", "other_source", "layer")
    others = sources[~np.eye(len(sources), dtype=bool)].mean(0)
    steps = Measured(found["blocks_of_steps"]).by("layer", "step", "other_step")
    rows = [
        ["cond and uncond", *(f"{each:.2f}" for each in branches)],
        ["two sources", *(f"{each:.2f}" for each in others)],
        ["one step and the next", *(f"{each:.2f}" for each in steps.diagonal(1, 1, 2).mean(-1))],
        ["first and last step", *(f"{each:.2f}" for each in steps[:, 0, -1])],
    ]
    layers = result["sources"][0]["coordinates"]["layer"]
    return markdown(["Jaccard of the best fifth, layer", *layers], rows)


def sinks(result: Result) -> Tables:
    return {"strongest": _strongest(result), "ablation": _ablated(result)}


def _strongest(result: Result) -> str:
    names = ("strength", "ratio_to_median", "sink_head", "value_norm")
    found = {
        name: np.stack(
            [Measured(each["measures"]["sinks"][name]).values for each in result["sources"]]
        )
        for name in (*names, "position")
    }
    strength = found["strength"][..., 0].mean((0, 1, 2))  # (layer, head)
    steps, sources = (
        Measured(result["comparisons"][f"same_over_{name}"]).by("layer", "head")
        for name in ("steps", "sources")
    )
    layers = result["sources"][0]["coordinates"]["layer"]
    rows = []
    for place in np.argsort(-strength.ravel())[:8]:
        layer, head = np.unravel_index(place, strength.shape)
        positions = found["position"][..., layer, head, 0, :].reshape(-1, 3)
        kinds, counts = np.unique(positions, axis=0, return_counts=True)
        where = kinds[counts.argmax()].astype(int)
        rows.append(
            [
                f"{layers[layer]}.{head}",
                f"{strength[layer, head]:.1f} ({found['strength'][..., layer, head, 0].max():.0f})",
                f"{found['ratio_to_median'][..., layer, head].mean():.0f}",
                f"{found['sink_head'][..., layer, head].mean():.2f}",
                f"{where[0]}, {where[1]}, {where[2]}",
                f"{steps[layer, head]:.2f}",
                f"{sources[layer, head]:.2f}",
                f"{found['value_norm'][..., layer, head, 0].mean():.2f}",
            ]
        )
    head_row = (
        "layer.head", "times chance (most)", "times the median", "sink head at",
        "frame, row, column", "same over steps", "over sources", "value norm",
    )  # fmt: skip
    by_layer = strength.max(-1)
    more = ", ".join(f"{layer}: {each:.1f}" for layer, each in zip(layers, by_layer, strict=True))
    return markdown(head_row, rows) + f"\n\nThe strongest head of each layer, times chance: {more}."


def _ablated(result: Result) -> str:
    experiment = result["experiment"]
    measures = {name: Measured(each) for name, each in experiment["measures"].items()}
    beyond = measures["difference_psnr"]
    assert beyond.low is not None
    assert beyond.high is not None
    rows = []
    for t, target in enumerate(experiment["coordinates"]["target"]):
        row = [target]
        for h in range(len(experiment["coordinates"]["how"])):
            sink = measures["sink_psnr"].values[:, t, h].mean()
            control = measures["control_psnr"].values[:, t, h].mean()
            low, high = beyond.low[t, h], beyond.high[t, h]
            row.append(f"{sink:.1f} / {control:.1f} ({low:+.1f} to {high:+.1f})")
        rows.append(row)
    return markdown(("taken out", *experiment["coordinates"]["how"]), rows)


def sweep(result: Result) -> Tables:
    experiment = result["experiment"]
    names = ("structure", "ssim", "psnr", "change_made", "judged")
    by = {name: Measured(experiment["measures"][name]).by("setting") for name in names}
    rows = [
        [setting, f"{by['structure'][n]:.2f}", f"{by['ssim'][n]:.2f}", f"{by['psnr'][n]:.1f}",
         f"{by['change_made'][n]:.2f}", f"{by['judged'][n]:.2f}"]
        for n, setting in enumerate(experiment["coordinates"]["setting"])
    ]  # fmt: skip
    head = ("layers", "structure", "SSIM", "PSNR", "change of colours", "change by the judge")
    proposals = [
        [each["name"], ", ".join(map(str, each["layers"])), f"{each['structure']:.2f}",
         f"{each['change_made']:.2f}"]
        for each in experiment["found"]["proposals"][:2]
    ]  # fmt: skip
    proposed = markdown(("proposed", "layers", "structure", "change of colours"), proposals)
    return {"settings": markdown(head, rows), "proposals": proposed}


TABLES: dict[str, Callable[[Result], Tables]] = {
    "structure": structure,
    "sparsity": sparsity,
    "sinks": sinks,
    "sweep": sweep,
    "anchored": sweep,
}
