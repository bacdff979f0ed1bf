"""Block sparsity: how much of a map its best blocks hold, and whether they are the same ones.

What a block-sparse kernel can skip is a block of 128 queries and 128 keys, not a key.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.analysis.measures.estimates import (
    Z95,
    Array,
    Definition,
    Estimate,
    Estimates,
    array,
)
from workers.analysis.measures.rows import RowBlock, Rows, block_size
from workers.analysis.measures.sparsity import DENSITIES, kept_keys

SET_DENSITY = 0.2  # of the blocks whose sets are compared

DEFINITIONS = {
    "block_recall": Definition(
        "share of a row",
        "mean over rows of the weight in the ceil(k·n²) blocks, of all n², that hold most, and of "
        "all to the text. Of sampled rows the value lies between two: blocks chosen by one half of "
        "the rows and weighed by the other hold no more than the best, those chosen and weighed "
        "by the same rows no less; the interval reaches from the one to the other, and beyond by "
        "what the sample of rows leaves open",
        ("density",),
    ),
}

BlockSet = NDArray[np.uint8]  # (H, ceil(n² / 8)): a bit a block, 1 where it is among the best


class BlocksOf:
    """Gathers the rows of one layer's heads; ``estimates`` when all have been added."""

    def __init__(self, heads: int, rows: Rows, densities: tuple[float, ...] = DENSITIES) -> None:
        self.rows = rows
        self.size = block_size(rows.tokens)
        self.side = -(-rows.tokens // self.size)
        self._densities = densities
        device = rows.index.device
        self._half = rows.half
        self._key_block = torch.arange(rows.tokens, device=device) // self.size
        shape = (heads, 2 * self.side, self.side)
        self._sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self._counts = torch.zeros(2 * self.side, dtype=torch.float64, device=device)
        self._context = torch.zeros(heads, dtype=torch.float64, device=device)
        self._rows: list[Tensor] = []  # (H, r, n) of each block of rows, where they are a sample

    def add(self, block: RowBlock) -> None:
        heads, count, _ = block.weights.shape
        by_block = block.weights.new_zeros(heads, count, self.side)
        by_block.index_add_(2, self._key_block, block.weights)  # (H, r, n)
        place = 2 * (block.index // self.size) + self._half[block.numbers]
        self._sums.index_add_(1, place, by_block.double())
        self._counts.index_add_(0, place, torch.ones_like(place, dtype=torch.float64))
        self._context += block.context.sum(1, dtype=torch.float64)
        if self.rows.sampled:
            self._rows.append(by_block)

    def mass(self) -> Tensor:
        """The share of the whole map in each block: (H, n, n), from all the rows."""
        sums, counts = self._halves()
        return self._shares(sums.sum(2), counts.sum(1))

    def _halves(self) -> tuple[Tensor, Tensor]:
        """Sums (H, n, 2, n) and counts (n, 2) of the rows of each block, by half."""
        shape = (len(self._sums), self.side, 2, self.side)
        return self._sums.reshape(shape), self._counts.reshape(self.side, 2)

    def _shares(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Mean weights of the rows of each block, as shares of the whole map's rows."""
        return sums / counts.clamp(min=1)[None, :, None] * self._sizes()[:, None]

    def _sizes(self) -> Tensor:
        """The share of all rows that lie in each block: (n,)."""
        starts = torch.arange(self.side, device=self._sums.device) * self.size
        rows_in: Tensor = (self.rows.tokens - starts).clamp(max=self.size).double()
        return rows_in / self.rows.tokens

    def estimates(self) -> Estimates:
        context = array(self._context / self.rows.count)[:, None]
        mass = self.mass().flatten(1)
        chosen = mass.argsort(dim=-1, descending=True, stable=True)
        best = self._recall(mass, chosen) + context
        if not self.rows.sampled:
            return {"block_recall": Estimate(best)}
        sums, counts = self._halves()
        one, other = (self._shares(sums[:, :, h], counts[:, h]).flatten(1) for h in (0, 1))
        crossed = [
            self._recall(weighed, choosing.argsort(dim=-1, descending=True, stable=True))
            for choosing, weighed in ((one, other), (other, one))
        ]
        least = np.minimum((crossed[0] + crossed[1]) / 2 + context, best)
        half = self._spread(chosen)
        return {"block_recall": Estimate((least + best) / 2, least - half, best + half)}

    def _spread(self, chosen: Tensor) -> Array:
        """Half the 95% interval that the sample of rows leaves to the mass of the ``chosen``
        blocks: (H, densities). Rows are drawn block by block, so what differs between the blocks
        is no chance."""
        rows = torch.cat(self._rows, dim=1).double()  # (H, R, n), R rows of every fold
        block = (self.rows.index // self.size).repeat(self.rows.folds)
        counts = self._halves()[1].sum(1)  # (n,)
        open_share = 1 - counts / (self._sizes() * self.rows.of)
        halves = []
        for density in self._densities:
            taken = torch.zeros_like(chosen, dtype=torch.bool)
            taken.scatter_(1, chosen[:, : kept_keys(density, chosen.shape[-1])], True)
            taken = taken.reshape(len(rows), self.side, self.side)
            kept = (rows * taken[:, block]).sum(-1)  # (H, R)
            sums = torch.zeros(len(rows), self.side, dtype=rows.dtype, device=rows.device)
            squares = sums.clone().index_add_(1, block, kept.square())
            sums.index_add_(1, block, kept)
            within = (squares - sums.square() / counts.clamp(min=1)) / (counts - 1).clamp(min=1)
            variance = (self._sizes() ** 2 * within * open_share / counts.clamp(min=1)).sum(-1)
            halves.append(Z95 * variance.clamp(min=0).sqrt())
        return array(torch.stack(halves, dim=-1))

    def _recall(self, mass: Tensor, chosen: Tensor) -> Array:
        """The mass (H, n²) of the first ``chosen`` blocks at each density: (H, densities)."""
        counts = [kept_keys(density, mass.shape[-1]) for density in self._densities]
        held = mass.gather(-1, chosen).cumsum(-1)
        return array(held[:, [count - 1 for count in counts]])

    def best_set(self, density: float = SET_DENSITY) -> BlockSet:
        """The best blocks at ``density``, as bits."""
        mass = self.mass().flatten(1)
        count = kept_keys(density, mass.shape[-1])
        chosen = torch.zeros_like(mass, dtype=torch.bool)
        chosen.scatter_(1, mass.argsort(dim=-1, descending=True, stable=True)[:, :count], True)
        return np.packbits(chosen.cpu().numpy(), axis=-1)


def jaccard(one: BlockSet, other: BlockSet) -> Array:
    """|A and B| / |A or B| of two sets of blocks: (H,)."""
    both = np.bitwise_count(one & other).sum(-1)
    either = np.bitwise_count(one | other).sum(-1)
    return np.asarray(both / np.maximum(either, 1), dtype=np.float64)
