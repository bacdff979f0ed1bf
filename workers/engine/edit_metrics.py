"""What an edit did to its source, measured on the frames of both."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from schemas.jobs import EditMetrics
from workers.analysis.interventions.distances import decibels, edge_likeness
from workers.families.pixels import Frames
from workers.generation.denoise import Generated


def measured(
    made: Generated, passes: float, frames: Frames, source: Frames | None, mask: Tensor | None
) -> EditMetrics:
    """``passes``: all that the job took. ``frames`` (F, H, W, 3) uint8: as they will be shown.
    ``mask``: see ``workers.generation.mask``; None: all of it could change."""
    computed = EditMetrics(tokens_computed=round(made.tokens_computed, 4), passes=round(passes, 4))
    if source is None or source.shape != frames.shape:
        return computed
    changes, squares = _Mean(), _Mean()
    inside = None if mask is None else np.broadcast_to(mask.numpy() > 0, frames.shape[:3])
    for place, (one, other) in enumerate(zip(frames, source, strict=True)):
        change = np.abs(one.astype(np.int16) - other)
        if inside is None:
            changes.add(change)
        else:
            changes.add(change[inside[place]])
            squares.add(change[~inside[place]].astype(np.int32) ** 2)
    return computed.model_copy(
        update={
            "structure": round(edge_likeness(frames, source), 4),
            "change_inside": round(changes.value / 255, 4),
            "outside_psnr_db": round(decibels(squares.value), 2) if squares.count else None,
        }
    )


class _Mean:
    """Of whole numbers that come frame by frame."""

    def __init__(self) -> None:
        self.sum = self.count = 0

    def add(self, values: NDArray[np.signedinteger]) -> None:
        self.sum += int(values.sum(dtype=np.int64))
        self.count += values.size

    @property
    def value(self) -> float:
        return self.sum / max(1, self.count)
