"""Structure: how a head's weight lies over frames and places, and how it fades with distance.

Of a map A, with A' = A over the weight that its row gives to the video (all of it, where no text is
in the same attention). What arXiv 2504.10317 shows as stripes are the decays here; its own
definitions were not at hand, so these are ours, but for the head class (Sparse VideoGen,
arXiv 2502.01776) and the motion (DiTFlow, arXiv 2412.07776).
"""

import numpy as np
import torch
from torch import Tensor

from workers.analysis.measures.decay import Decay
from workers.analysis.measures.estimates import (
    Definition,
    Estimate,
    Estimates,
    RowMoments,
    array,
)
from workers.analysis.measures.grid import TokenGrid, by_frames
from workers.analysis.measures.motion import Motion
from workers.analysis.measures.rows import RowBlock, Rows

DEFINITIONS = {
    "own_frame_share": Definition(
        "share of a row", "spatial share: mean over rows i of the weight to tokens of frame f(i)"
    ),
    "other_frames_share": Definition(
        "share of a row", "temporal share: mean over rows i of the weight to tokens of other frames"
    ),
    "context_share": Definition(
        "share of a row", "mean over rows of the weight to tokens that are not the video's (text)"
    ),
    "frame_distance": Definition(
        "share of F - 1", "mean over rows i of sum over j of A'_ij |f(i) - f(j)|, over F - 1"
    ),
    "patch_distance": Definition(
        "share of the diagonal",
        "mean over rows i of sum over j of A'_ij |s(i) - s(j)| (Euclidean, in patches), over the "
        "diagonal of the grid of places",
    ),
    "frame_decay": Definition(
        "weight of a pair",
        "mean of A'_ij over the pairs (i, j) that are so many frames apart",
        ("frame_distance",),
    ),
    "patch_decay": Definition(
        "weight of a pair",
        "mean of A'_ij over the pairs (i, j) whose places are so many patches apart, rounded",
        ("patch_distance",),
    ),
    "frame_slope": Definition(
        "1 / frame", "slope of the least-squares line of ln frame_decay on the frame distance"
    ),
    "frame_fit": Definition("R²", "R² of that line"),
    "patch_slope": Definition(
        "1 / patch", "slope of the least-squares line of ln patch_decay on the patch distance"
    ),
    "patch_fit": Definition("R²", "R² of that line"),
    "frame_local_error": Definition(
        "share of the output's square",
        "|O - O'|² / |O|² over the rows, O = A V, O' with each row's weight kept in its own frame "
        "alone and renormalised",
    ),
    "place_local_error": Definition(
        "share of the output's square",
        "the same with each row's weight kept in the ceil(H·W / F) nearest places of every frame",
    ),
    "head_class": Definition(
        "1 or 0",
        "1, a frame-local (spatial) head, if frame_local_error is the smaller of the two; 0, a "
        "place-local (temporal) head, else (Sparse VideoGen)",
    ),
    "motion": Definition(
        "patches",
        "mean over rows i of s(j) - s(i), j the place of the largest weight in the frame that "
        "stands so many frames after f(i) (negative: before); down and right are positive",
        ("signed_frame_distance", "direction"),
    ),
}


class StructureOf:
    """Gathers the rows of one layer's heads; ``estimates`` when all have been added."""

    def __init__(self, heads: int, grid: TokenGrid, rows: Rows) -> None:
        self.grid, self.rows = grid, rows
        self._moments: dict[str, RowMoments] = {}
        self._decays = {"frame_decay": Decay(rows), "patch_decay": Decay(rows)}
        self._errors = torch.zeros(3, heads, dtype=torch.float64)
        self._motion = Motion(grid, heads)

    def add(self, block: RowBlock) -> None:
        grid, weights = self.grid, block.weights  # (H, r, N)
        by_frame_place = by_frames(weights, grid, 2)
        by_frame = by_frame_place.sum(-1)  # (H, r, F)
        by_place = by_frame_place.sum(-2)  # (H, r, P)
        frames_off = grid.frame_distances(block.index)  # (r, F)
        patches_off = grid.patch_distances(block.index)  # (r, P)
        video = by_frame.sum(-1)  # (H, r)
        own = (by_frame * (frames_off == 0)).sum(-1)
        whole = video.clamp(min=torch.finfo(torch.float32).tiny)
        self._add("own_frame_share", own)
        self._add("other_frames_share", video - own)
        self._add("context_share", block.context)
        far = (by_frame * frames_off).sum(-1) / whole
        self._add("frame_distance", far / max(grid.frames - 1, 1))
        wide = (by_place * patches_off).sum(-1) / whole
        self._add("patch_distance", wide / grid.diagonal)
        self._decays["frame_decay"].add(
            by_frame / whole[..., None], frames_off, grid.frames, grid.places
        )
        self._decays["patch_decay"].add(
            by_place / whole[..., None], patches_off.round().long(), grid.distance_bins, grid.frames
        )
        self._motion.add(by_frame_place, block.index)
        if block.value is not None:
            self._errors += _mask_errors(block, grid, block.value, patches_off).cpu()

    def _add(self, name: str, values: Tensor) -> None:
        self._moments.setdefault(name, RowMoments()).add(values)

    def estimates(self) -> Estimates:
        found = {name: each.estimate(self.rows.of) for name, each in self._moments.items()}
        for name, slope, fit in (
            ("frame_decay", "frame_slope", "frame_fit"),
            ("patch_decay", "patch_slope", "patch_fit"),
        ):
            found[name], found[slope], found[fit] = self._decays[name].estimates()
        found["motion"] = Estimate(self._motion.mean())
        if self._errors.any():
            frame, place, whole = (array(each) for each in self._errors)
            found["frame_local_error"] = Estimate(frame / whole)
            found["place_local_error"] = Estimate(place / whole)
            found["head_class"] = Estimate((frame <= place).astype(np.float64))
        return found


def _mask_errors(block: RowBlock, grid: TokenGrid, value: Tensor, patches_off: Tensor) -> Tensor:
    """Squared errors of the frame-local and the place-local output, and the output's: (3, H)."""
    weights = by_frames(block.weights, grid, 2)
    nearest = patches_off.argsort(dim=-1, stable=True)[:, : -(-grid.places // grid.frames)]
    places = torch.zeros_like(patches_off).scatter_(1, nearest, 1.0)  # (r, P)
    frames = (grid.frame_distances(block.index) == 0).to(weights)  # (r, F)
    outputs = [
        _output(weights, value),
        _output(weights * frames[None, :, :, None], value),
        _output(weights * places[None, :, None, :], value),
    ]
    whole, frame, place = outputs
    return torch.stack(
        [(each.double() ** 2).sum((1, 2)) for each in (whole - frame, whole - place, whole)]
    )


def _output(weights: Tensor, value: Tensor) -> Tensor:
    """What (H, r, F, P) weights, renormalised, take of ``value`` (H, N, d): (H, r, d)."""
    flat = weights.flatten(2)
    whole = flat.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return flat @ value / whole
