"""Likeness of two maps, by what is kept of each: its sampled rows over boxes of keys.

Where two maps have one grid of few enough tokens, a box is a token, and rows are compared as they
are. Else keys are summed over the boxes of a coarser grid, and rows averaged over those boxes if
the grids differ. Text that shares the attention counts as one key more, so that rows sum to 1.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from workers.analysis.measures.estimates import Z95, Array, Definition, Estimate
from workers.analysis.measures.grid import Pooling
from workers.analysis.measures.rows import RowBlock, Rows

MOST_BOXES = 1024
DEFINITIONS = {
    "cosine": Definition("1", "mean over rows of the cosine of A_i and B_i"),
    "overlap": Definition("share of a row", "mean over rows of 1 - |A_i - B_i|₁ / 2"),
}

Signature = NDArray[np.float32]  # (H, rows or boxes, boxes + 1), rows sum to 1


class SignatureOf:
    """Gathers the rows of one layer's heads; ``signature`` when all have been added.

    ``by_row``: one line a row; else one a box of rows.
    """

    def __init__(self, heads: int, rows: Rows, pooling: Pooling, *, by_row: bool) -> None:
        device = rows.index.device
        self._box = pooling.box_of(device)
        self._boxes = pooling.boxes.tokens
        self._by_row = by_row
        lines = len(rows.index) if by_row else self._boxes
        self._sums = torch.zeros(heads, lines, self._boxes + 1, device=device)
        self._counts = torch.zeros(lines, device=device)

    def add(self, block: RowBlock) -> None:
        heads, count, tokens = block.weights.shape
        pooled = block.weights.new_zeros(heads, count, self._boxes + 1)
        if self._boxes == tokens:
            pooled[..., :-1] = block.weights
        else:
            pooled.index_add_(2, self._box, block.weights)
        pooled[..., -1] = block.context
        lines = block.numbers if self._by_row else self._box[block.index]
        self._sums.index_add_(1, lines, pooled)
        self._counts.index_add_(0, lines, torch.ones_like(lines, dtype=torch.float32))

    def signature(self) -> Signature:
        pooled: Signature = (self._sums / self._counts.clamp(min=1)[None, :, None]).cpu().numpy()
        return pooled


class Likeness(NamedTuple):
    cosine: Estimate
    overlap: Estimate


def likeness(one: Signature, other: Signature, *, sampled: bool) -> Likeness:
    """Of two maps' heads (H, rows, boxes + 1), head by head: (H,) each.

    ``sampled``: the rows are a sample, so there is an interval.
    """
    a, b = torch.from_numpy(one), torch.from_numpy(other)
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    cosine = ((a * b).sum(-1) / norms.clamp(min=1e-30)).double().numpy()
    overlap = (1 - (a - b).abs().sum(-1) / 2).double().numpy()
    return Likeness(_mean(cosine, sampled), _mean(overlap, sampled))


def _mean(rows: Array, sampled: bool) -> Estimate:
    mean = rows.mean(-1)
    if not sampled:
        return Estimate(mean)
    half = Z95 * rows.std(-1) / max(rows.shape[-1] - 1, 1) ** 0.5
    return Estimate(mean, mean - half, mean + half)


def mean_head(signature: Signature) -> Signature:
    """The mean of a layer's heads, (1, rows, boxes + 1): what layers and models are compared by."""
    mean: Signature = signature.mean(0, keepdims=True)
    return mean


def boxes_that_fit(rows: int, maps: int, heads: int, most_bytes: int) -> int:
    """How many boxes a signature may have so that ``maps`` of them take ``most_bytes`` at most."""
    return min(MOST_BOXES, most_bytes // (4 * rows * maps * heads) - 1)
