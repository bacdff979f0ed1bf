"""Contact sheets: films laid out as a PNG so that a person can judge them.

Owns layout only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor


def contact_sheet(
    films: Tensor,
    path: Path,
    labels: Sequence[str] = (),
    frames: Sequence[int] = (0, 8, 16),
    columns: int = 4,
    zoom: int = 1,
) -> None:
    """Write some frames of each film side by side.

    Args:
        films: (B, 3, T, H, W) in [0, 1].
        path: the PNG to write.
        labels: one a film, drawn above it.
        frames: which frames of a film to show.
        columns: films a row.
        zoom: whole-number enlargement.
    """
    pixels = (films.clamp(0, 1) * 255).round().byte().cpu().numpy()
    count, _, _, height, width = pixels.shape
    top = 12 if labels else 2
    cell_w, cell_h = len(frames) * width * zoom + 4, height * zoom + top
    rows = -(-count // columns)
    sheet = Image.new("RGB", (cell_w * columns, cell_h * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for index in range(count):
        x0, y0 = (index % columns) * cell_w, (index // columns) * cell_h
        strip = np.concatenate([pixels[index, :, f] for f in frames], axis=-1).transpose(1, 2, 0)
        tile = Image.fromarray(strip).resize(
            (len(frames) * width * zoom, height * zoom), Image.Resampling.NEAREST
        )
        sheet.paste(tile, (x0, y0 + top))
        if index < len(labels):
            pen.text((x0 + 2, y0), labels[index], fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
