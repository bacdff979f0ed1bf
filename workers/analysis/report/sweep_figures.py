"""Figures of a layer sweep: what each layer carries, and the contact sheet."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from workers.analysis.report.structure_figures import Figures
from workers.analysis.report.style import BLUE, FAINT, GREEN, ORANGE, RED, figure, png
from workers.analysis.results import Experiment

Stills = NDArray[np.uint8]
TILE_WIDTH = 160  # pixels of a still in the sheet, at least
COLUMNS = 8


def draw_sweep(experiment: Experiment, stills: Sequence[Stills]) -> Figures:
    figures = {"layers": _layers(experiment), "plane": _plane(experiment)}
    labels = ["source", *map(str, experiment.coordinates["setting"])]
    for number, each in enumerate(stills):
        prompt = str(experiment.coordinates["edit"][number])
        figures[f"sheet_{number}"] = contact_sheet(each, labels, prompt)
    return figures


def _kinds(experiment: Experiment) -> list[str]:
    return [str(label) for label in experiment.coordinates["setting"]]


def _layers(experiment: Experiment) -> bytes:
    """Structure and change made of each layer alone, without each, and up to each."""
    labels = _kinds(experiment)
    made, axes = figure(7.8, 4.4, 2, 1, sharex=True)
    layers = [int(label.split()[1]) for label in labels if label.startswith("layer ")]
    for row, (name, title) in enumerate(
        (("structure", "structure kept\n(correlation of edges)"), ("change_made", "change made"))
    ):
        panel = axes[row, 0]
        values = experiment.measures[name].values  # (edit, setting)
        mean = np.nanmean(values, axis=0)
        for kind, word, colour in (
            ("alone", "layer", BLUE), ("without", "without", RED), ("up to", "up to", GREEN),
        ):  # fmt: skip
            places = [n for n, label in enumerate(labels) if label.startswith(f"{word} ")]
            at = [int(labels[n].rsplit(" ", 1)[1]) for n in places]
            panel.plot(at, mean[places], "o-", color=colour, markersize=4, label=kind)
            panel.plot(at, values[:, places].T, color=colour, alpha=0.18, lw=0.8)
        for word, style in (("plain", ":"), ("none", "-."), ("all", "--")):
            if word in labels:
                panel.axhline(
                    mean[labels.index(word)], color="#6b7785", linestyle=style, lw=1, label=word
                )
        panel.set_ylabel(title)
    axes[0, 0].legend(ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[1, 0].set_xlabel("layer (faint: single edits)")
    axes[1, 0].set_xticks(layers)
    return png(made)


def _plane(experiment: Experiment) -> bytes:
    """Every setting by how much shot it keeps and how much change it makes."""
    labels = _kinds(experiment)
    structure = np.nanmean(experiment.measures["structure"].values, axis=0)
    change = np.nanmean(experiment.measures["change_made"].values, axis=0)
    named = {
        tuple(each["layers"]): each["name"]
        for each in reversed(experiment.found["proposals"])
        if each["name"] in ("best", "fewest")
    }
    made, axes = figure(6.2, 4.0)
    panel = axes[0, 0]
    texts: list[Any] = []
    for number, label in enumerate(labels):
        layers = tuple(experiment.coordinates["layers"][number])
        proposed = named.get(layers) if layers else None
        colour = ORANGE if proposed else BLUE if layers else "#6b7785"
        panel.plot(structure[number], change[number], "o", color=colour, markersize=5)
        text = f"{proposed}: {', '.join(map(str, layers))}" if proposed else label
        texts.append((structure[number], change[number], text, colour))
    for x, y, text, colour in texts:
        panel.annotate(
            text, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=6.5, color=colour
        )
    panel.axhline(1, color=FAINT, lw=1)
    panel.set_xlabel("structure kept (correlation of edges with the source)")
    panel.set_ylabel("change made (share of plain's new colours)")
    panel.set_title("orange: proposed sets of layers")
    return png(made)


def contact_sheet(stills: Stills, labels: Sequence[str], title: str) -> bytes:
    """``stills`` (n, height, width, 3) in rows of eight, each under its label."""
    count, height, width, _ = stills.shape
    zoom = max(1, round(TILE_WIDTH / width))
    if width > 2 * TILE_WIDTH:
        shrink = width // TILE_WIDTH
        stills = stills[:, ::shrink, ::shrink]
        height, width, zoom = stills.shape[1], stills.shape[2], 1
    tile_width, tile_height = width * zoom + 6, height * zoom + 20
    rows = -(-count // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * tile_width + 6, rows * tile_height + 26), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    pen.text((6, 5), title, fill="#1f2933", font=ImageFont.load_default(13))
    for number, (still, label) in enumerate(zip(stills, labels, strict=True)):
        row, column = divmod(number, COLUMNS)
        left, top = column * tile_width + 6, row * tile_height + 26
        tile = Image.fromarray(still).resize(
            (width * zoom, height * zoom), Image.Resampling.NEAREST
        )
        pen.text((left, top), label, fill="#1f2933", font=font)
        sheet.paste(tile, (left, top + 16))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()
