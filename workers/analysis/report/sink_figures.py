"""Figures of sinks: how strong, where, how stable, and what taking them out does."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm

from workers.analysis.collector import Collected
from workers.analysis.measures.estimates import Array
from workers.analysis.report.structure_figures import Figures, mean_over
from workers.analysis.report.style import (
    BLUE,
    FAINT,
    ORANGE,
    RED,
    SHADES,
    figure,
    heat_map,
    legend_below,
    plain_numbers,
    png,
)
from workers.analysis.results import AnalysisResult, Experiment

SHOWN = 3  # heads whose received weight is drawn frame by frame


def draw_sinks(result: AnalysisResult, found: Sequence[Collected]) -> Figures:
    figures = {
        "strength": _strength(found),
        "where": _where(found[0]),
        "stability": _stability(result, found),
    }
    if result.experiment is not None:
        figures["ablation"] = _ablation(result.experiment)
    return figures


def _strengths(found: Sequence[Collected]) -> Array:
    """Of the first token, (layer, head), the mean over sources, steps and branches."""
    each = [
        mean_over(one.measures("sinks")["strength"], "layer", "head", "rank")[..., 0]
        for one in found
    ]
    mean: Array = np.mean(each, axis=0)
    return mean


def _strength(found: Sequence[Collected]) -> bytes:
    plan, heads = found[0].plan, found[0].heads
    made, axes = figure(9.0, 0.24 * len(plan.layers) + 1.7, 1, 2)
    values = _strengths(found)
    heat_map(
        made,
        axes[0, 0],
        values,
        rows=plan.layers,
        columns=heads,
        labels=("layer", "head", "times chance"),
        norm=LogNorm(max(1.0, float(np.nanmin(values))), max(2.0, float(np.nanmax(values)))),
    )
    axes[0, 0].set_title("weight that the strongest token gets")
    by_step = np.mean(
        [
            mean_over(one.measures("sinks")["strength"], "step", "layer", "head", "rank")[..., 0]
            for one in found
        ],
        axis=0,
    )  # (step, layer, head)
    heat_map(
        made,
        axes[0, 1],
        by_step.max(-1).T,
        rows=plan.layers,
        columns=plan.steps,
        labels=("layer", "step", "times chance"),
        norm=LogNorm(max(1.0, float(by_step.max(-1).min())), max(2.0, float(by_step.max()))),
    )
    axes[0, 1].set_title("the strongest head's, by step")
    return png(made)


def _where(one: Collected) -> bytes:
    """What each token gets, frame by frame, of the heads whose first token gets most."""
    peaks = {
        (layer, head): received[head].max()
        for layer, received in one.received.items()
        for head in range(len(received))
    }
    chosen = sorted(peaks, key=lambda place: -peaks[place])[:SHOWN]
    grid = one.grid
    frames = min(grid.frames, 8)
    shown = [round(each) for each in np.linspace(0, grid.frames - 1, frames)]
    made, axes = figure(
        1.35 * frames + 1.2, (1.35 * grid.rows / grid.columns + 0.3) * len(chosen) + 0.5,
        len(chosen), frames,
    )  # fmt: skip
    for row, (layer, head) in enumerate(chosen):
        received = one.received[layer][head]
        if len(received) != grid.tokens:
            continue  # a layer that attends within a frame or a place
        values = np.maximum(received, 1e-2).reshape(grid.frames, grid.rows, grid.columns)
        best = grid.position(int(received.argmax()))
        for column, frame in enumerate(shown):
            panel = axes[row, column]
            panel.grid(False)
            image = panel.imshow(
                values[frame], cmap=SHADES, norm=LogNorm(0.1, max(10, float(values.max())))
            )
            panel.set_xticks([])
            panel.set_yticks([])
            if row == 0:
                panel.set_title(f"frame {frame}")
            if frame == best[0]:
                panel.plot(best[2], best[1], "o", mfc="none", mec="#35d0ff", markersize=9, mew=1.5)
        axes[row, 0].set_ylabel(f"layer {layer}\nhead {one.heads[head]}")
        bar = made.colorbar(image, ax=axes[row, :].tolist(), shrink=0.9, pad=0.01)
        bar.set_label("times chance")
        plain_numbers(bar.ax.yaxis)
    step, branch = one.plan.pictured or (0, "cond")
    made.supxlabel(f"weight that a token gets, step {step}, {branch}; ring: the most", fontsize=8.5)
    return png(made)


def _stability(result: AnalysisResult, found: Sequence[Collected]) -> bytes:
    """Against its strength: at how many steps and sources a head's first token is the same."""
    strengths = _strengths(found)
    names = [
        (name, title)
        for name, title in (("same_over_steps", "steps"), ("same_over_sources", "sources"))
        if name in result.comparisons
    ]
    made, axes = figure(3.7 * len(names) + 0.2, 2.9, 1, len(names), sharey=True)
    for place, (name, title) in enumerate(names):
        share = mean_over(result.comparisons[name], "layer", "head")
        panel = axes[0, place]
        panel.semilogx(strengths.ravel(), share.ravel(), ".", color=BLUE, alpha=0.6)
        strong = np.argsort(-strengths.ravel())[:5]
        for each in strong:
            layer, head = np.unravel_index(each, strengths.shape)
            text = f"{found[0].plan.layers[layer]}.{found[0].heads[head]}"
            panel.annotate(
                text, (strengths[layer, head], share[layer, head]), xytext=(4, -3),
                textcoords="offset points", fontsize=7, color=RED,
            )  # fmt: skip
        panel.set_xlabel("strength of the first token, times chance")
        panel.set_title(f"the same token over {title} (a dot a head)")
        panel.set_ylim(0, 1.05)
        plain_numbers(panel.xaxis)
    axes[0, 0].set_ylabel(f"share of the {names[0][1]}, sources")
    return png(made)


def _ablation(experiment: Experiment) -> bytes:
    targets, how = experiment.coordinates["target"], experiment.coordinates["how"]
    sink, control = experiment.measures["sink_psnr"], experiment.measures["control_psnr"]
    beyond = experiment.measures["difference_psnr"]
    assert beyond.low is not None
    assert beyond.high is not None
    made, axes = figure(8.4, 0.42 * len(targets) + 1.7, 1, len(how), sharey=True)
    places = np.arange(len(targets))[::-1]
    for column, name in enumerate(how):
        panel = axes[0, column]
        controls = control.values[:, :, column]  # (source, target, draw)
        for row, place in enumerate(places):
            every = controls[:, row].ravel()
            panel.plot(every, np.full(len(every), place - 0.12), ".", color=FAINT, markersize=5)
        panel.plot(controls.mean((0, 2)), places - 0.12, "o", color=BLUE, label="random, mean")
        panel.plot(
            sink.values[:, :, column].mean(0), places + 0.12, "D", color=ORANGE, label="sinks"
        )
        for row, place in enumerate(places):
            low, high = beyond.low[row, column], beyond.high[row, column]
            text = f"{beyond.values[row, column]:+.1f} [{low:+.1f}, {high:+.1f}]"
            panel.annotate(
                text, (0.98, place + 0.22), xycoords=("axes fraction", "data"), fontsize=6.5,
                ha="right", color=RED if high < 0 else "#6b7785",
            )  # fmt: skip
        panel.set_title(str(name))
        panel.set_xlabel("PSNR to the video as it is, dB")
        panel.set_yticks(places, [str(target) for target in targets])
        panel.set_ylim(-0.6, len(targets) - 0.2)
    legend_below(made, axes[0, 0])
    made.suptitle(
        "sinks taken out, and as many random ones (difference in dB with its 95% interval)",
        fontsize=9,
    )
    return png(made)
