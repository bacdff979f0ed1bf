"""Sparsity: how much of a row's weight its largest keys hold, and how spread it is.

Where text is in the same attention its keys are always kept, so that a density is a share of the
video's keys alone; ``workers.analysis.interventions`` keeps the same ones.
"""

import math

import numpy as np
import torch
from torch import Tensor

from workers.analysis.measures.estimates import Definition, Estimates, RowMoments
from workers.analysis.measures.rows import RowBlock, Rows

DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MASSES = (0.5, 0.8, 0.9, 0.95, 0.99)

DEFINITIONS = {
    "retained_mass": Definition(
        "share of a row",
        "mean over rows of the sum of the ceil(k·N) largest weights to the video, and of all to "
        "the text",
        ("density",),
    ),
    "density_for_mass": Definition(
        "share of the keys",
        "mean over rows of the least share of the video's keys that hold so much of the row, "
        "beside the text; 1 where not even all do",
        ("mass",),
    ),
    "entropy": Definition("nats", "mean over rows of - sum over keys of A ln A"),
}


def kept_keys(density: float, tokens: int) -> int:
    """How many of a row's ``tokens`` keys are kept at ``density``: one at least."""
    # 0.7 * 10 is 7.000000000000001: that is seven keys, not eight
    return min(tokens, max(1, math.ceil(round(density * tokens, 9))))


def sort_rows(weights: Tensor) -> Tensor:
    """Each row (H, r, N) with its largest first."""
    if weights.is_cuda:
        return weights.sort(-1, descending=True).values
    # numpy sorts fp32 in vector registers: a fifth of torch's time
    return torch.from_numpy(np.sort(weights.numpy(), axis=-1)).flip(-1)


class SparsityOf:
    """Gathers the rows of one layer's heads; ``estimates`` when all have been added."""

    def __init__(
        self,
        rows: Rows,
        densities: tuple[float, ...] = DENSITIES,
        masses: tuple[float, ...] = MASSES,
    ) -> None:
        self.rows = rows
        self._counts = [kept_keys(density, rows.tokens) for density in densities]
        self._masses = masses
        self._moments = {name: RowMoments() for name in DEFINITIONS}

    def add(self, block: RowBlock) -> None:
        largest = sort_rows(block.weights)
        # double: a sum of 32,760 small numbers in fp32 is off by 1e-4
        held = largest.cumsum(-1, dtype=torch.float64) + block.context[..., None]
        counts = torch.tensor(self._counts, device=held.device)
        self._moments["retained_mass"].add(held[..., counts - 1])
        self._moments["density_for_mass"].add(self._densities_of(held))
        entropy = torch.special.entr(block.weights).sum(-1)
        self._moments["entropy"].add(entropy + block.context_entropy)

    def _densities_of(self, held: Tensor) -> Tensor:
        """``held``: (H, r, N), what the first keys hold together; (H, r, masses)."""
        masses = torch.tensor(self._masses, dtype=held.dtype, device=held.device)
        needed = torch.searchsorted(held, masses.expand(*held.shape[:2], -1).contiguous()) + 1
        return needed.clamp(max=held.shape[-1]).double() / held.shape[-1]

    def estimates(self) -> Estimates:
        return {name: each.estimate(self.rows.of) for name, each in self._moments.items()}
