"""Videos as a client gets them: decoding an mp4, comparing two, a contact sheet of several."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Frames = NDArray[np.uint8]  # (F, H, W, 3)


def read_video(path: Path) -> Frames:
    """All frames of a video file, (F, H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def edge_maps(frames: Frames) -> NDArray[np.float64]:
    """Gradient magnitude of each frame's lightness, (F, H-1, W-1)."""
    grey = frames.astype(np.float64).mean(axis=-1)
    edges: NDArray[np.float64] = np.hypot(
        np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    )
    return edges


def structure_similarity(a: Frames, b: Frames) -> float:
    """Pearson correlation of two videos' edge maps over all frames: 1 is the same shot.

    It ignores what colour a thing has, and sees where it is and how it moves. Raises ValueError
    for videos of different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"videos of shapes {a.shape} and {b.shape} cannot be compared")
    return float(np.corrcoef(edge_maps(a).ravel(), edge_maps(b).ravel())[0, 1])


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[tuple[str, Frames]]]], *, frames: int = 4, scale: int = 2
) -> Image.Image:
    """One picture: a row of videos under each title, each with ``frames`` stills and a caption.

    ``scale`` enlarges pixels by a whole factor, without smoothing.
    """
    height, width = (scale * side for side in rows[0][1][0][1].shape[1:3])
    gap, line = 8, 14
    columns = max(len(videos) for _, videos in rows)
    cell_w, cell_h = frames * width + gap, height + line + gap
    sheet = Image.new("RGB", (columns * cell_w + gap, len(rows) * (cell_h + line) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, videos) in enumerate(rows):
        top = gap + row * (cell_h + line)
        draw.text((gap, top), title, fill="black")
        for column, (caption, video) in enumerate(videos):
            left = gap + column * cell_w
            for still, index in enumerate(np.linspace(0, len(video) - 1, frames).round()):
                picture = Image.fromarray(video[int(index)])
                enlarged = picture.resize((width, height), Image.Resampling.NEAREST)
                sheet.paste(enlarged, (left + still * width, top + line))
            draw.text((left, top + line + height), caption, fill="#444444")
    return sheet
