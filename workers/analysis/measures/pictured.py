"""A layer's map as a picture: the mean of its heads, pooled, and the square of one frame enlarged.

Rows are queries, columns keys, as in arXiv 2504.10317, figure 2. Above ``EXACT_TOKENS`` four rows
of each cell's are taken, evenly spaced; the frame's rows are all taken.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.rows import Heads, Rows, all_rows, row_blocks

BINS = 240  # cells a side
EXACT_TOKENS = 2048


class Pictured(NamedTuple):
    """Mean weights of cells of tokens, fp32: ``whole`` (b, b), and ``square`` (p, p) of ``frame``
    with itself."""

    whole: NDArray[np.float32]
    square: NDArray[np.float32]
    frame: int


def pictured(attention: Heads, grid: TokenGrid) -> Pictured:
    """The picture of one layer at one step."""
    device = attention.key.device
    bins = min(BINS, grid.tokens)
    rows = all_rows(grid.tokens, device)
    if grid.tokens > EXACT_TOKENS:
        count = 4 * bins
        spaced = (torch.arange(count, device=device) * 2 + 1) * grid.tokens // (2 * count)
        rows = Rows(spaced, grid.tokens)
    frame = grid.frames // 2
    start = frame * grid.places
    own = Rows(torch.arange(start, start + grid.places, device=device), grid.tokens)
    return Pictured(
        _pooled(attention, rows, bins, 0, grid.tokens),
        _pooled(attention, own, min(BINS, grid.places), start, grid.places),
        frame,
    )


def _pooled(
    attention: Heads, rows: Rows, bins: int, start: int, tokens: int
) -> NDArray[np.float32]:
    """The part of the map at ``start``, ``tokens`` a side, as ``bins`` cells a side."""
    device = attention.key.device
    cell = torch.arange(tokens, device=device) * bins // tokens
    keys = torch.bincount(cell, minlength=bins).float()
    sums = torch.zeros(bins, bins, device=device)
    counts = torch.zeros(bins, device=device)
    for block in row_blocks(attention, rows):
        mean: Tensor = block.weights[..., start : start + tokens].mean(0)  # (r, tokens)
        pooled = mean.new_zeros(len(mean), bins).index_add_(1, cell, mean)
        places = cell[block.index - start]
        sums.index_add_(0, places, pooled)
        counts.index_add_(0, places, torch.ones_like(places, dtype=torch.float32))
    picture: NDArray[np.float32] = (sums / counts[:, None] / keys[None, :]).cpu().numpy()
    return picture
