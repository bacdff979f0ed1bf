"""Motion that the maps show: where each token's largest weight in another frame lies.

DiTFlow (arXiv 2412.07776) takes this as the motion of what is filmed.
"""

import torch
from torch import Tensor

from workers.analysis.measures.estimates import Array, array
from workers.analysis.measures.grid import TokenGrid, by_frames
from workers.analysis.measures.rows import Heads


class Motion:
    """Sums of displacements by signed frame distance."""

    def __init__(self, grid: TokenGrid, heads: int) -> None:
        self.grid = grid
        bins = 2 * grid.frames - 1
        self._sums = torch.zeros(heads, bins, 2, dtype=torch.float64)
        self._counts = torch.zeros(bins, dtype=torch.float64)

    def add(self, weights: Tensor, index: Tensor) -> None:
        """``weights``: (H, r, F, P) of the rows ``index`` (r,)."""
        grid = self.grid
        best = weights.argmax(-1).cpu()  # (H, r, F)
        index = index.cpu()
        own = grid.place_of(index)[:, None]
        moved = torch.stack(
            [best // grid.columns - own // grid.columns, best % grid.columns - own % grid.columns],
            dim=-1,
        ).double()  # (H, r, F, 2)
        bins = torch.arange(grid.frames)[None, :] - grid.frame_of(index)[:, None] + grid.frames - 1
        self._sums.index_add_(1, bins.flatten(), moved.flatten(1, 2))
        self._counts.index_add_(0, bins.flatten(), torch.ones(bins.numel(), dtype=torch.float64))

    def mean(self) -> Array:
        """(H, 2F - 1, 2); NaN for a distance that none of the rows has."""
        counts = self._counts[None, :, None]
        return array(torch.where(counts > 0, self._sums / counts.clamp(min=1), torch.nan))


def motion_flow(attention: Heads, grid: TokenGrid) -> Tensor:
    """Where each token's largest weight in the next frame lies: (H, F - 1, rows, columns, 2).

    Displacements in patches, (down, right), on the host: DiTFlow's attention motion flow of
    neighbouring frames. The largest weight is that of the largest logit, so no softmax is needed.
    """
    query = by_frames(attention.query[:, attention.video], grid, 1)
    key = by_frames(attention.key[:, attention.video], grid, 1)
    own = torch.arange(grid.places)
    flows = []
    for frame in range(grid.frames - 1):
        logits = query[:, frame].float() @ key[:, frame + 1].float().transpose(1, 2)
        best = logits.argmax(-1).cpu()  # (H, P)
        down = best // grid.columns - own // grid.columns
        right = best % grid.columns - own % grid.columns
        flow = torch.stack([down, right], -1)
        flows.append(flow.reshape(len(flow), grid.rows, grid.columns, 2))
    if not flows:
        return torch.zeros(attention.heads, 0, grid.rows, grid.columns, 2, dtype=torch.long)
    return torch.stack(flows, 1)
