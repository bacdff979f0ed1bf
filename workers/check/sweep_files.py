"""What a sweep leaves: a table, a contact sheet, and a retake.json that is to be looked at."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.check.sweep import Swept

COLUMNS = 8
LABEL_HEIGHT = 14


def write_files(swept: Swept, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.md").write_text(table(swept))
    presets = {
        name: {
            "layers": list(preset.layers or ()),
            **({} if preset.steps == 1 else {"steps": preset.steps}),
        }
        for name, preset in sorted(swept.presets().items())
    }
    (folder / "retake.json").write_text(json.dumps({"presets": presets}, indent=2) + "\n")
    for number, (title, labels, stills) in enumerate(swept.sheets):
        contact_sheet(stills, labels, title).save(folder / f"sheet-{number}.png", optimize=True)


def table(swept: Swept) -> str:
    """Every setting, the best first within its kind of edit and stage."""
    text = "| edit | stage | layers | steps | scale | structure | change made | inside | outside "
    text += "| score |\n" + "|---" * 10 + "|\n"
    order = sorted(swept.rows, key=lambda row: (row.preset, row.stage, -row.score))
    for row in order:
        layers = " ".join(map(str, row.layers)) or "none"
        text += f"| {row.preset} | {row.stage} | {layers} | {row.steps:g} | {row.scale:g} "
        figures = (row.structure, row.change_made, row.inside, row.outside, row.score)
        text += "".join(f"| {figure:.3f} " for figure in figures) + "|\n"
    return text


def contact_sheet(stills: NDArray[np.uint8], labels: list[str], title: str) -> Image.Image:
    """The stills (n, height, width, 3) side by side, each under its label."""
    count, height, width, _ = stills.shape
    rows, cell = -(-count // COLUMNS), height + LABEL_HEIGHT
    sheet = Image.new("RGB", (width * COLUMNS, LABEL_HEIGHT + cell * rows), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((2, 1), title, fill="black")
    for number, (still, label) in enumerate(zip(stills, labels, strict=True)):
        x, y = number % COLUMNS * width, LABEL_HEIGHT + number // COLUMNS * cell
        pen.text((x + 2, y + 1), label, fill="black")
        sheet.paste(Image.fromarray(still), (x, y + LABEL_HEIGHT))
    return sheet
