"""Figures of sparsity: what the largest keys and blocks hold, and the causal test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from workers.analysis.collector import Collected
from workers.analysis.interventions.causal import SETS
from workers.analysis.measures.estimates import Array
from workers.analysis.report.structure_figures import Figures, mean_over
from workers.analysis.report.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    figure,
    heat_map,
    legend_below,
    plain_numbers,
    png,
    shades,
)
from workers.analysis.results import AnalysisResult, Experiment

MARKERS = ("o", "s", "D", "^", "v", "P", "*", "X")  # a density each, eight at most


def draw_sparsity(result: AnalysisResult, found: Sequence[Collected]) -> Figures:
    figures = {"mass": _masses(found), "heads": _heads(found), "blocks": _blocks(result, found)}
    if result.experiment is not None:
        figures["causal"] = _causal(result.experiment)
        figures["together"] = _together(result.experiment)
    return figures


def _masses(found: Sequence[Collected]) -> bytes:
    made, axes = figure(7.4, 3.2, 1, 2, sharey=True)
    plan = found[0].plan
    for place, (name, title) in enumerate(
        (("retained_mass", "the largest keys of each row"), ("block_recall", "the best blocks"))
    ):
        curves = np.mean(
            [mean_over(one.measures("sparsity")[name], "layer", "density") for one in found], axis=0
        )
        axes[0, place].plot([0, 1], [0, 1], color=FAINT, linestyle="--", label="uniform")
        for layer, curve, colour in zip(plan.layers, curves, shades(len(curves)), strict=True):
            axes[0, place].plot(plan.densities, curve, ".-", color=colour, label=f"layer {layer}")
        axes[0, place].set_title(title)
        axes[0, place].set_xlabel("density: share that is kept")
        axes[0, place].set_xlim(0, 1)
    axes[0, 0].set_ylabel("share of the weight")
    axes[0, 0].set_ylim(0, 1.02)
    legend_below(made, axes[0, 0])
    return png(made)


def _heads(found: Sequence[Collected]) -> bytes:
    """The share of keys that hold nine tenths, by layer and head."""
    plan = found[0].plan
    mass = min(plan.masses, key=lambda each: abs(each - 0.9))
    values = np.mean(
        [
            mean_over(one.measures("sparsity")["density_for_mass"], "layer", "head", "mass")
            for one in found
        ],
        axis=0,
    )[..., plan.masses.index(mass)]
    heads = found[0].heads
    made, axes = figure(max(4.4, 0.3 * len(heads) + 2.2), 0.26 * len(values) + 1.5)
    heat_map(
        made,
        axes[0, 0],
        values,
        rows=plan.layers,
        columns=heads,
        labels=("layer", "head", "share of the keys"),
        vmin=0,
    )
    axes[0, 0].set_title(f"keys that hold {mass:.0%} of a row")
    return png(made)


def _blocks(result: AnalysisResult, found: Sequence[Collected]) -> bytes:
    """How alike the sets of best blocks are, by layer."""
    layers = [str(layer) for layer in found[0].plan.layers]
    made, axes = figure(5.2, 2.8)
    for name, label, colour in (
        ("steps", "one step and the next that was measured", BLUE),
        ("branches", "cond and uncond", ORANGE),
        ("sources", "two sources", GREEN),
    ):
        measure = result.comparisons.get(f"blocks_of_{name}")
        if measure is None:
            continue
        if name == "steps":
            values = mean_over(measure, "layer", "step", "other_step")
            alike = values.diagonal(1, 1, 2).mean(-1) if values.shape[-1] > 1 else None
        elif name == "sources":
            values = mean_over(measure, "source", "other_source", "layer")
            others = ~np.eye(len(values), dtype=bool)
            alike = values[others].mean(0) if others.any() else None
        else:
            alike = mean_over(measure, "layer")
        if alike is not None:
            axes[0, 0].plot(layers, alike, ".-", color=colour, label=label)
    axes[0, 0].axhline(0.2 / 1.8, color=FAINT, linestyle="--", label="random sets")
    axes[0, 0].set_ylim(0, 1.03)
    axes[0, 0].set_xlabel("layer")
    axes[0, 0].set_ylabel("Jaccard index")
    axes[0, 0].set_title("are the best fifth of the blocks the same?")
    axes[0, 0].legend(loc="lower left")
    return png(made)


def _causal(experiment: Experiment) -> bytes:
    """PSNR against the weight that is lost, a point a layer and density."""
    densities, layers = experiment.coordinates["density"], experiment.coordinates["layer"]
    psnr = experiment.measures["alone_psnr"].values[:, 0].mean(0)  # of the first temperature
    lost = np.maximum(1 - experiment.measures["retained_mass"].values, 1e-6)  # (layer, density)
    dense = set(experiment.found["looks_sparse_and_is_not"])
    made, axes = figure(7.4, 4.0, 1, 2, sharey=True)
    panel = axes[0, 0]
    for number, layer in enumerate(layers):
        colour = RED if layer in dense else BLUE
        panel.plot(lost[number], psnr[number], color=colour, alpha=0.25, linewidth=1)
        for d, marker in zip(range(len(densities)), MARKERS, strict=False):
            at = (lost[number, d], psnr[number, d])
            panel.plot(*at, marker, color=colour, markersize=5)
            panel.annotate(
                str(layer), at, xytext=(4, 2), textcoords="offset points", fontsize=7, color=colour
            )
    _floor(panel, experiment)
    panel.set_xscale("log")
    plain_numbers(panel.xaxis)
    panel.set_xlabel("weight that is lost: 1 - retained mass")
    panel.set_ylabel("PSNR to the video as it is, dB")
    panel.set_title("one layer sparse; red: looks sparse and is not")
    kinds = [
        Line2D([], [], color=INK, marker=marker, linestyle="", markersize=5)
        for _, marker in zip(densities, MARKERS, strict=False)
    ]
    panel.legend(kinds, [f"density {density:g}" for density in densities], loc="lower left")
    _by_layer(axes[0, 1], experiment, psnr)
    legend_below(made, axes[0, 1])
    return png(made)


def _by_layer(axes: Any, experiment: Experiment, psnr: Array) -> None:
    densities, layers = experiment.coordinates["density"], experiment.coordinates["layer"]
    names = [str(layer) for layer in layers]
    for d, (density, colour) in enumerate(zip(densities, shades(len(densities)), strict=True)):
        axes.plot(names, psnr[:, d], "o-", color=colour, markersize=4, label=f"density {density:g}")
        control = experiment.measures.get("control_psnr")
        if control is not None:
            random = control.values[:, 0].mean(0)[:, d]
            label = "as many random keys" if d == len(densities) - 1 else None
            axes.plot(names, random, ":", color=colour, label=label)
    axes.set_xlabel("layer")
    axes.set_title("the same, by layer")


def _floor(axes: Any, experiment: Experiment) -> None:
    floor = float(experiment.measures["floor_psnr"].values.mean())
    if floor < 90:
        axes.axhline(floor, color=FAINT, linestyle="--", label="the same video in another batch")


def _together(experiment: Experiment) -> bytes:
    """All layers at once, and all but those that are not to be touched."""
    densities = experiment.coordinates["density"]
    made, axes = figure(7.4, 2.8, 1, 2)
    dense = ", ".join(map(str, experiment.found["dense_layers"]))
    for place, (figure_name, label) in enumerate(
        (("psnr", "PSNR, dB"), ("edges", "correlation of edges"))
    ):
        values = experiment.measures[f"together_{figure_name}"].values  # (source, T, set, density)
        for s, (name, colour) in enumerate(zip(SETS, (ORANGE, BLUE), strict=True)):
            if s and not dense:
                continue
            name = f"all but {dense}" if s else name
            for t, temperature in enumerate(experiment.coordinates["temperature"]):
                shown = f"{name}, T {temperature:g}" if temperature != 1 else name
                axes[0, place].plot(
                    densities, values[:, t, s].mean(0), "o-" if t == 0 else "o--", color=colour,
                    markersize=4, label=shown,
                )  # fmt: skip
                axes[0, place].plot(densities, values[:, t, s].T, color=colour, alpha=0.2, lw=0.8)
        axes[0, place].set_xlabel("density in each of the layers")
        axes[0, place].set_ylabel(label)
        axes[0, place].invert_xaxis()
    legend_below(made, axes[0, 0], 4)
    made.suptitle("layers sparse together (faint: single sources)", fontsize=9)
    return png(made)
