"""Figures of structure: the maps with their stripes, decays, shares, head classes, likeness."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.analysis.collector import Collected
from workers.analysis.measures.estimates import Array, Measure
from workers.analysis.measures.grid import TokenGrid
from workers.analysis.report.style import (
    BLUE,
    EITHER,
    FAINT,
    GREEN,
    ORANGE,
    SHADES,
    figure,
    heat_map,
    legend_below,
    png,
    shades,
    spread,
)
from workers.analysis.results import AnalysisResult

Figures = dict[str, bytes]
MOST_PAIRS = 3  # of models whose layers are drawn against each other


def draw_structure(result: AnalysisResult, found: Sequence[Collected]) -> Figures:
    first = found[0]
    measures = first.measures("structure")
    figures = {
        "maps": _maps(first),
        "decay": _decays(first, measures),
        "shares": _shares(first, measures),
        "layers": _layers(result, found),
    }
    if "head_class" in measures:
        figures["heads"] = _head_classes(first, measures)
    if first.flows:
        figures["motion"] = _motion(first)
    for name, drawn in (("sources", _sources), ("steps", _steps)):
        measure = result.comparisons.get(f"overlap_of_{name}")
        if measure is not None:
            figures[name] = drawn(first, measure)
    return figures


def _maps(one: Collected) -> bytes:
    """Each layer's mean map, and below it the square of one frame."""
    layers = [one.plan.layers[each] for each in spread(len(one.plan.layers))]
    made, axes = figure(1.55 * len(layers) + 0.3, 3.6, 2, len(layers))
    for column, layer in enumerate(layers):
        picture = one.pictures[layer]
        _map(axes[0, column], picture.whole, one.grid, f"layer {layer}")
        _map(axes[1, column], picture.square, None, f"frame {picture.frame}")
    axes[0, 0].set_ylabel("queries")
    axes[1, 0].set_ylabel("queries of one frame")
    step, branch = one.plan.pictured or (0, "cond")
    made.supxlabel(
        f"keys; mean of the heads at step {step}, {branch}; logarithm of the weight, 3 decades",
        fontsize=8.5,
    )
    return png(made)


def _map(axes: Any, values: NDArray[np.float32], grid: TokenGrid | None, title: str) -> None:
    top = values.max()
    axes.grid(False)
    axes.imshow(np.log10(np.maximum(values, top * 1e-3)), cmap=SHADES, aspect="equal")
    axes.set_title(title, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])
    if grid is not None and 1 < grid.frames <= 12:
        edges = np.arange(1, grid.frames) * len(values) / grid.frames - 0.5
        axes.set_xticks(edges, [])
        axes.set_yticks(edges, [])


def mean_over(measure: Measure, *kept: str) -> Array:
    """The mean over all axes but those ``kept``, in the order of the measure's own."""
    gone = tuple(n for n, axis in enumerate(measure.axes) if axis not in kept)
    mean: Array = np.nanmean(measure.values, axis=gone)
    return mean


def _decays(one: Collected, measures: Mapping[str, Measure]) -> bytes:
    made, axes = figure(7.4, 3.1, 1, 2)
    names = ("frame", "patch")
    for place, name in enumerate(names):
        curves = mean_over(measures[f"{name}_decay"], "layer", f"{name}_distance")
        colours = shades(len(curves))
        for layer, curve, colour in zip(one.plan.layers, curves, colours, strict=True):
            axes[0, place].semilogy(curve, color=colour, label=f"layer {layer}", marker=".")
        axes[0, place].axhline(1 / one.grid.tokens, color=FAINT, linestyle="--", label="uniform")
        axes[0, place].set_xlabel(f"distance, {'frames' if name == 'frame' else 'patches'}")
        axes[0, place].set_title(f"decay over {'frames' if name == 'frame' else 'places'}")
    axes[0, 0].set_ylabel("mean weight of a pair")
    legend_below(made, axes[0, 0])
    return png(made)


def _shares(one: Collected, measures: Mapping[str, Measure]) -> bytes:
    made, axes = figure(7.4, 2.9, 1, 2)
    names = [str(layer) for layer in one.plan.layers]
    bottom = np.zeros(len(names))
    for name, label, colour in (
        ("own_frame_share", "own frame", BLUE),
        ("other_frames_share", "other frames", ORANGE),
        ("context_share", "text", FAINT),
    ):
        share = mean_over(measures[name], "layer")
        if share.max() > 1e-6:
            axes[0, 0].bar(names, share, 0.75, bottom=bottom, color=colour, label=label)
        bottom = bottom + share
    axes[0, 0].set_ylabel("share of the weight to")
    axes[0, 0].set_xlabel("layer")
    axes[0, 0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    for name, label, colour in (
        ("frame_distance", "frames, of F - 1", ORANGE),
        ("patch_distance", "patches, of the diagonal", GREEN),
    ):
        by_head = mean_over(measures[name], "layer", "head")
        axes[0, 1].plot(names, by_head, ".", color=colour, alpha=0.35, markersize=4)
        axes[0, 1].plot(names, by_head.mean(1), color=colour, label=label)
    axes[0, 1].set_ylabel("expected distance (dots: heads)")
    axes[0, 1].set_xlabel("layer")
    axes[0, 1].set_ylim(bottom=0)
    axes[0, 1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return png(made)


def _head_classes(one: Collected, measures: Mapping[str, Measure]) -> bytes:
    frame, place = (
        mean_over(measures[f"{name}_local_error"], "layer", "head") for name in ("frame", "place")
    )
    ratio = np.log2(np.maximum(place, 1e-9) / np.maximum(frame, 1e-9))
    reach = max(1.0, float(np.abs(ratio).max()))
    made, axes = figure(max(4.6, 0.3 * len(one.heads) + 2.4), 0.26 * len(ratio) + 1.5)
    heat_map(
        made,
        axes[0, 0],
        ratio,
        rows=one.plan.layers,
        columns=one.heads,
        labels=("layer", "head", "log2 of place-local over frame-local error"),
        cmap=EITHER,
        vmin=-reach,
        vmax=reach,
    )
    axes[0, 0].set_title("red: frame-local (spatial)\nblue: place-local (temporal)")
    return png(made)


def _motion(one: Collected) -> bytes:
    """Where the heads look in the next frame, from the middle one on."""
    layers = [one.plan.layers[each] for each in spread(len(one.plan.layers), 4)]
    layers = [layer for layer in layers if layer in one.flows]
    made, axes = figure(2.3 * len(layers), 2.1, 1, len(layers))
    frame = one.grid.frames // 2 - (one.grid.frames > 2)
    every = max(1, one.grid.columns // 24)
    for column, layer in enumerate(layers):
        flow = one.flows[layer][min(frame, len(one.flows[layer]) - 1)][::every, ::every]
        down, right = flow[..., 0], flow[..., 1]
        axes[0, column].quiver(
            right, down, np.hypot(down, right), cmap="viridis", angles="xy", scale_units="xy",
            scale=max(1.0, float(np.hypot(down, right).max()) / 2), width=0.008,
        )  # fmt: skip
        axes[0, column].invert_yaxis()
        axes[0, column].set_title(f"layer {layer}")
        axes[0, column].set_aspect("equal")
        axes[0, column].set_xticks([])
        axes[0, column].set_yticks([])
    made.supxlabel(
        "place of the largest weight in the next frame, median of the heads", fontsize=8.5
    )
    return png(made)


def _matrices(
    values: Array, titles: Sequence[str], names: Sequence[Any], label: str, colours: str
) -> bytes:
    """``values`` (panel, n, n), a matrix each."""
    low = float(np.nanmin(values))
    made, axes = figure(1.3 * len(values) + 0.9, 1.75, 1, len(values))
    for column, (matrix, title) in enumerate(zip(values, titles, strict=True)):
        axes[0, column].grid(False)
        image = axes[0, column].imshow(matrix, vmin=low, vmax=1, cmap="viridis")
        shown = spread(len(names), 5)
        axes[0, column].set_xticks(shown, [str(names[each]) for each in shown])
        ticks = [str(names[each]) for each in shown] if column == 0 else []
        axes[0, column].set_yticks(shown if column == 0 else [], ticks)
        axes[0, column].set_title(title)
    axes[0, 0].set_ylabel(label)
    bar = made.colorbar(image, ax=axes[0, :].tolist(), shrink=0.85, pad=0.02)
    bar.set_label(colours)
    return png(made)


def _sources(one: Collected, measure: Measure) -> bytes:
    """(source, other_source, …) as one matrix a layer."""
    values = np.moveaxis(mean_over(measure, "source", "other_source", "layer"), -1, 0)
    shown = spread(len(values))
    titles = [f"layer {one.plan.layers[each]}" for each in shown]
    return _matrices(values[shown], titles, range(values.shape[-1]), "source", "overlap")


def _steps(one: Collected, measure: Measure) -> bytes:
    values = mean_over(measure, "layer", "step", "other_step")
    shown = spread(len(values))
    titles = [f"layer {one.plan.layers[each]}" for each in shown]
    steps = one.plan.steps[: values.shape[-1]]
    return _matrices(values[shown], titles, steps, "step", "overlap")


def _layers(result: AnalysisResult, found: Sequence[Collected]) -> bytes:
    """One source's layers among themselves, and against those of another model."""
    names = [key for key in result.comparisons if key.startswith("overlap_of_layers_")]
    own = ["overlap_of_layers_0_0"]
    models = [run.recipe.generation.model for run in (each.run for each in result.sources)]
    for key in names:
        a, b = (int(each) for each in key.rsplit("_", 2)[1:])
        if models[a] != models[b] and len(own) < MOST_PAIRS:
            own.append(key)
    made, axes = figure(3.4 * len(own) + 0.4, 3.0, 1, len(own))
    for column, key in enumerate(own):
        a, b = (int(each) for each in key.rsplit("_", 2)[1:])
        values = np.nanmean(result.comparisons[key].values, axis=0)
        of = ("", "") if a == b else (f" of {models[a]}", f" of {models[b]}")
        others = values[~np.eye(len(values), dtype=bool)] if a == b else values
        heat_map(
            made,
            axes[0, column],
            values,
            rows=found[a].plan.layers,
            columns=found[b].plan.layers,
            labels=(f"layer{of[0]}", f"layer{of[1]}", "overlap"),
            vmax=float(np.nanmax(others, initial=0.0)) or 1.0,
        )
        axes[0, column].set_title("mean maps of the layers")
    return png(made)
