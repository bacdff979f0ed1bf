"""Sinks: key tokens that get weight from every query, where they lie, and what they hold.

A token's received weight is m_j, the mean over rows i of A_ij. From a sample of rows the largest
m_j of a map of thin stripes would be one of those that happen to be in the sample; so a token is
ranked by what both halves of the sample give it.
"""

import numpy as np
import torch
from torch import Tensor

from workers.analysis.measures.estimates import Z95, Array, Definition, Estimate, Estimates, array
from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.rows import Heads, RowBlock, Rows

TOP = 8  # tokens of a head that are listed
THRESHOLD = 10.0  # times the median, from which on a head is called a sink head

DEFINITIONS = {
    "strength": Definition(
        "times chance",
        "m_j of the tokens that get most, over 1 / N', N' all keys of the row; from sampled rows "
        "ranked by the smaller m_j of two halves of the sample",
        ("rank",),
    ),
    "ratio_to_median": Definition("times the median", "m_j of the first, over the median m_j"),
    "sink_head": Definition("1 or 0", f"1 where ratio_to_median is {THRESHOLD:g} or more"),
    "token": Definition("index", "which token that is, from 0 in the video's order", ("rank",)),
    "position": Definition("index", "its frame, row and column, from 0", ("rank", "coordinate")),
    "received_by_frame": Definition(
        "times chance", "mean m_j of the tokens of a frame, over 1 / N'", ("frame",)
    ),
    "value_norm": Definition(
        "times the median", "|v_j| over the median of |v| over the video's tokens", ("rank",)
    ),
}


class SinksOf:
    """Gathers the rows of one layer's heads; ``estimates`` when all have been added."""

    def __init__(self, folds: list[Heads], grid: TokenGrid, rows: Rows) -> None:
        self.grid, self.rows = grid, rows
        self.keys = folds[0].key.shape[1]
        self._values = [
            each.value[:, each.video].float().norm(dim=-1)  # (H, N)
            for each in folds
            if each.value is not None
        ]
        self._half = rows.half
        shape = (2, folds[0].heads, rows.tokens)
        self._sums = torch.zeros(shape, dtype=torch.float64, device=rows.index.device)
        self._squares = torch.zeros_like(self._sums[0])

    def add(self, block: RowBlock) -> None:
        half = self._half[block.numbers]
        # fp32 within a block of some hundred rows, fp64 between them
        for number, chosen in enumerate((~half, half)):
            self._sums[number] += block.weights[:, chosen].sum(1)
        if self.rows.sampled:
            self._squares += block.weights.square().sum(1)

    def received(self) -> Tensor:
        """m_j of every token: (H, N)."""
        return self._sums.sum(0) / self.rows.count

    def estimates(self) -> Estimates:
        received = self.received()
        order = self._ranked()[:, :TOP]
        top = received.gather(1, order)
        median = array(received.quantile(0.5, dim=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = array(top[:, 0]) / median
        tokens = array(order)
        found = {
            "strength": self._strength(top, order),
            "ratio_to_median": Estimate(ratio),
            "sink_head": Estimate((ratio >= THRESHOLD).astype(np.float64)),
            "token": Estimate(tokens),
            "position": Estimate(self._positions(tokens)),
            "received_by_frame": Estimate(
                array(received.reshape(-1, self.grid.frames, self.grid.places).mean(-1) * self.keys)
            ),
        }
        if self._values:
            norms = torch.stack(self._values).mean(0)
            median_norm = norms.quantile(0.5, dim=1, keepdim=True)
            found["value_norm"] = Estimate(array(norms.gather(1, order) / median_norm))
        return found

    def _ranked(self) -> Tensor:
        """Tokens by received weight, the most first: (H, N)."""
        if not self.rows.sampled:
            return self.received().argsort(dim=-1, descending=True, stable=True)
        both, received = self._sums.amin(0), self.received()
        # those that one half alone has seen come last, in the order of what it gave them
        by_all = received.argsort(dim=-1, descending=True, stable=True)
        by_both = both.gather(1, by_all).argsort(dim=-1, descending=True, stable=True)
        return torch.gather(by_all, 1, by_both)

    def _strength(self, top: Tensor, order: Tensor) -> Estimate:
        value = array(top * self.keys)
        if not self.rows.sampled:
            return Estimate(value)
        count = self.rows.count
        squares = self._squares.gather(1, order) / count
        variance = (squares - top.square()).clamp(min=0) * (1 - count / self.rows.of)
        half = array(Z95 * (variance / max(count - 1, 1)).sqrt() * self.keys)
        return Estimate(value, value - half, value + half)

    def _positions(self, tokens: Array) -> Array:
        """(frame, row, column) of tokens (H, T): (H, T, 3)."""
        frame, place = np.divmod(tokens, self.grid.places)
        return np.stack([frame, *np.divmod(place, self.grid.columns)], axis=-1)
