"""How weight fades with distance: the mean of a pair by its distance, and the line through that.

Of sampled rows the interval is a bootstrap over rows. The largest patch distances are seen by few
rows, those near a corner, so that with a hundred rows it is rather too narrow: of 48 intervals of a
map of pure noise 41 held the truth.
"""

import numpy as np
import torch
from torch import Tensor

from workers.analysis.measures.estimates import (
    Array,
    Estimate,
    array,
    bootstrap_weights,
    percentiles,
)
from workers.analysis.measures.rows import Rows

REPEATS = 200  # resamples of rows for the interval of a slope


class Decay:
    """The mean weight of a pair by its distance, and the line through its logarithm."""

    def __init__(self, rows: Rows) -> None:
        self._sampled = rows.sampled
        self._sums: list[Tensor] = []  # (H, r, bins), or (H, 1, bins) where rows are not a sample
        self._pairs: list[Tensor] = []  # (r, bins), or (1, bins)

    def add(self, weights: Tensor, distance: Tensor, bins: int, pairs: int) -> None:
        """``weights`` (H, r, n) at ``distance`` (r, n); each stands for ``pairs`` pairs."""
        heads, count, _ = weights.shape
        sums = torch.zeros(heads, count, bins, dtype=torch.float64, device=weights.device)
        sums.scatter_add_(2, distance.expand_as(weights), weights.double())
        numbers = torch.zeros(count, bins, dtype=torch.float64, device=weights.device)
        numbers.scatter_add_(1, distance, torch.full_like(distance, pairs, dtype=torch.float64))
        if not self._sampled:  # no interval is wanted: keep no row for itself
            sums, numbers = sums.sum(1, keepdim=True), numbers.sum(0, keepdim=True)
        if self._sums and not self._sampled:
            self._sums[0] += sums
            self._pairs[0] += numbers
        else:
            self._sums.append(sums)
            self._pairs.append(numbers)

    def estimates(self) -> tuple[Estimate, Estimate, Estimate]:
        """The means by distance (H, bins), the slope (H,) and the R² (H,) of their line."""
        sums, pairs = torch.cat(self._sums, 1).cpu(), torch.cat(self._pairs, 0).cpu()
        means = _means(sums.sum(1), pairs.sum(0))
        slope, fit = fit_line(means)
        if not self._sampled:
            return Estimate(means), Estimate(slope), Estimate(fit)
        weights = bootstrap_weights(sums.shape[1], REPEATS)
        resampled = _means(torch.einsum("br,hrn->bhn", weights, sums), (weights @ pairs)[:, None])
        slopes, fits = fit_line(resampled)
        return (
            percentiles(means, resampled),
            percentiles(slope, slopes),
            percentiles(fit, fits),
        )


def _means(sums: Tensor, pairs: Tensor) -> Array:
    """NaN where no pair is that far apart."""
    return array(torch.where(pairs > 0, sums / pairs.clamp(min=1), torch.nan))


def fit_line(decay: Array) -> tuple[Array, Array]:
    """Slope and R² of the least-squares line of ln ``decay`` (…, bins) on the bins' numbers.

    Bins without a pair or without weight take no part; R² is NaN where all are alike.
    """
    used = np.isfinite(decay) & (decay > 0)
    heights = np.log(np.where(used, decay, 1.0))
    count = np.maximum(used.sum(-1, keepdims=True), 1)
    places = np.broadcast_to(np.arange(decay.shape[-1], dtype=np.float64), decay.shape)
    x = np.where(used, places - (places * used).sum(-1, keepdims=True) / count, 0.0)
    y = np.where(used, heights - (heights * used).sum(-1, keepdims=True) / count, 0.0)
    xx, xy, yy = (x * x).sum(-1), (x * y).sum(-1), (y * y).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(xx > 0, xy / xx, np.nan)
        # what rounding leaves of a flat line is no slope to explain
        fit = np.where((xx > 0) & (yy > 1e-12), xy * xy / (xx * yy), np.nan)
    return slope, fit
