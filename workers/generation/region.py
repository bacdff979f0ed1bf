"""Which tokens an anchored edit computes: those in which it differs from its source.

Tokens are patches of the latents (1, C, F, H, W), in the order of the transformer's own.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from schemas.attention import Region

Patch = tuple[int, int, int]


class TokenGrid(NamedTuple):
    """``patch`` and the tokens (frames, rows, columns) of latents of one size."""

    patch: Patch
    tokens: tuple[int, int, int]

    @classmethod
    def of(cls, latents: Tensor, patch: Patch) -> "TokenGrid":
        frames, height, width = latents.shape[2:]
        return cls(patch, (frames // patch[0], height // patch[1], width // patch[2]))

    def norms(self, latents: Tensor) -> Tensor:
        """The length of each token's part of ``latents``: (F, H, W), float32."""
        (f, h, w), (pf, ph, pw) = self.tokens, self.patch
        squares = latents[0].float().square().sum(dim=0)
        return squares.view(f, pf, h, ph, w, pw).sum(dim=(1, 3, 5)).sqrt()

    def spread(self, tokens: Tensor) -> Tensor:
        """A value for each token (N,) as one for each place of the latents: (1, 1, F, H, W)."""
        places = tokens.view(self.tokens)
        for axis, size in enumerate(self.patch):
            places = places.repeat_interleave(size, dim=axis)
        return places[None, None]


class ActiveTokens:
    """Of one edit, from step to step.

    ``chosen``: (N,) bool, those that the next computed step computes; None: all of them.
    """

    def __init__(self, region: Region, patch: Patch) -> None:
        self._region, self._patch = region, patch
        self._whole = False  # the change is of the whole picture: nothing is left out any more
        self.chosen: Tensor | None = None

    @property
    def share(self) -> float:
        """Of all tokens, those that are computed."""
        return 1.0 if self.chosen is None else float(self.chosen.float().mean())

    def take(self, difference: Tensor) -> Tensor:
        """``difference`` (1, C, F, H, W) as it is to be added, and the choice of the next step.

        The first difference is computed whole, but only its chosen tokens' part is used: what is
        left to the source must be the source's from the beginning.
        """
        if self._whole:
            return difference
        grid, computed = TokenGrid.of(difference, self._patch), self.chosen
        chosen = choose_tokens(grid.norms(difference), self._region)
        self._whole = bool(chosen.float().mean() > self._region.max_share)
        self.chosen = None if self._whole else chosen
        if computed is not None or self._whole:
            return difference  # of tokens that were not computed it is zero
        return torch.where(grid.spread(chosen), difference, 0)


def choose_tokens(norms: Tensor, region: Region) -> Tensor:
    """The tokens whose ``norms`` (F, H, W) are large, grown within their frame: (N,) bool."""
    large = (norms > region.threshold * otsu_threshold(norms)).float().unsqueeze(1)
    grown = F.max_pool2d(large, 2 * region.growth + 1, stride=1, padding=region.growth)
    return grown.flatten() > 0


def otsu_threshold(values: Tensor) -> Tensor:
    """The value that best parts ``values`` in two, a scalar.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979, over the values
    themselves in place of a histogram.
    """
    ordered = values.flatten().double().sort().values
    count = len(ordered)
    below = torch.arange(1, count, device=values.device).double()
    sums = ordered.cumsum(0)
    low = sums[:-1] / below
    high = (sums[-1] - sums[:-1]) / (count - below)
    cut = (below * (count - below) * (high - low).square()).argmax()
    return ((ordered[cut] + ordered[cut + 1]) / 2).to(values.dtype)
