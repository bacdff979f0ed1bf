"""What a measure is: numbers with an interval, and in results with axes, a unit, a definition."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Z95 = 1.959963984540054  # a normal distribution's 97.5th percentile
DIGITS = 6  # significant, of what is written as JSON


class Estimate(NamedTuple):
    """A value (H, …), and its 95% interval where it comes from sampled rows."""

    value: Array
    low: Array | None = None
    high: Array | None = None


Estimates = dict[str, Estimate]


class Definition(NamedTuple):
    """What a measure of one map is. ``axes``: those that it has beside the head's."""

    unit: str
    text: str
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A measure over many maps. ``axes`` name the dimensions of ``values``; what an axis counts
    stands in the ``coordinates`` of the result that the measure belongs to. NaN: not measured."""

    name: str
    axes: tuple[str, ...]
    unit: str
    definition: str
    values: NDArray[Any]
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != self.values.ndim:
            raise ValueError(
                f"{self.name}: {len(self.axes)} axes for {self.values.ndim} dimensions"
            )

    def to_json(self) -> dict[str, Any]:
        interval = {} if self.low is None else {"low": plain(self.low), "high": plain(self.high)}
        return {
            "axes": list(self.axes),
            "unit": self.unit,
            "definition": self.definition,
            "values": plain(self.values),
            **interval,
        }


def plain(values: Any) -> Any:
    """Numbers as JSON has them: nested lists, rounded, null for NaN."""
    if isinstance(values, np.ndarray):
        return [plain(each) for each in values] if values.ndim else plain(values[()])
    if isinstance(values, (bool, np.bool_)):
        return bool(values)
    if isinstance(values, (int, np.integer)):
        return int(values)
    number = float(values)
    return float(f"{number:.{DIGITS}g}") if np.isfinite(number) else None


@dataclass
class RowMoments:
    """The mean of a number that every row has, and its interval where the rows are a sample."""

    count: int = 0
    sums: Tensor | None = None
    squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """``values``: (H, r, …) of ``r`` rows."""
        values = values.double()
        sums, squares = values.sum(1), values.square().sum(1)
        self.count += values.shape[1]
        self.sums = sums if self.sums is None else self.sums + sums
        self.squares = squares if self.squares is None else self.squares + squares

    def estimate(self, of: int) -> Estimate:
        """The mean over all ``of`` rows of the map, of which ``count`` were seen."""
        assert self.sums is not None
        assert self.squares is not None
        mean = self.sums / self.count
        if self.count >= of:
            return Estimate(array(mean))
        spread = (self.squares / self.count - mean.square()).clamp(min=0)
        # a sample without repeats of few rows: Bessel's correction, and the finite population's
        variance = spread * self.count / max(self.count - 1, 1) * (1 - self.count / of)
        half = Z95 * (variance / self.count).sqrt()
        return Estimate(array(mean), array(mean - half), array(mean + half))


def array(tensor: Tensor) -> Array:
    numbers: Array = tensor.detach().double().cpu().numpy()
    return numbers


def bootstrap_weights(count: int, repeats: int, seed: int = 0) -> Tensor:
    """How often each of ``count`` rows is drawn in each resample: (repeats, count) fp64."""
    noise = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (repeats, count), generator=noise)
    return torch.zeros(repeats, count, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(repeats, count, dtype=torch.float64)
    )


def percentiles(value: Array, resampled: Array) -> Estimate:
    """``value`` with the middle 95% of ``resampled`` (repeats, …); NaN takes no part."""
    # numpy's own function goes column by column in Python where there may be NaN
    ordered = np.sort(resampled, axis=0)  # NaN last
    last = np.maximum((~np.isnan(ordered)).sum(0) - 1, 0)
    low, high = (_at(ordered, share * last) for share in (0.025, 0.975))
    return Estimate(value, low, high)


def _at(ordered: Array, place: Array) -> Array:
    """``ordered`` (n, …) at ``place`` (…) along its first axis, linear between two numbers."""
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    first, second = (
        np.take_along_axis(ordered, index[None], axis=0)[0] for index in (below, above)
    )
    share = place - below
    between: Array = np.where(share > 0, first + (second - first) * share, first)
    return between


def bootstrap_mean(values: Array, repeats: int = 2000, seed: int = 0) -> Estimate:
    """The mean of ``values`` over their first axis with its bootstrap interval."""
    weights = bootstrap_weights(len(values), repeats, seed).numpy() / len(values)
    return percentiles(values.mean(0), np.tensordot(weights, values, axes=1))


@dataclass(frozen=True)
class Stacked:
    """The estimates of many maps, as they come in, under the axes that name the map.

    ``places``: the lengths of the axes ``axes``, which all measures share. Where a map has less to
    say along an axis of a measure's own (a layer that sees one frame alone), the rest is NaN.
    """

    axes: tuple[str, ...]
    places: tuple[int, ...]
    arrays: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def put(self, place: tuple[int, ...], estimates: Mapping[str, Estimate]) -> None:
        for name, estimate in estimates.items():
            parts = [part for part in estimate if part is not None]
            shape = estimate.value.shape
            known = self.arrays.get(name, [])
            had = known[0].shape[len(self.places) :] if known else shape
            full = self.places + tuple(max(sizes) for sizes in zip(had, shape, strict=True))
            known = [_grown(each, full) for each in known]
            known += [np.full(full, np.nan, np.float32) for _ in parts[len(known) :]]
            for whole, part in zip(known, parts, strict=False):
                whole[place][tuple(slice(0, size) for size in shape)] = part
            self.arrays[name] = known

    def measures(self, definitions: Mapping[str, Definition]) -> dict[str, Measure]:
        found = {}
        for name, parts in self.arrays.items():
            unit, text, more = definitions[name]
            axes = (*self.axes, "head", *more)
            found[name] = Measure(name, axes[: parts[0].ndim], unit, text, *parts)
        return found


def _grown(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """``values`` in the corner of an array of ``shape``, with NaN beside them."""
    if values.shape == shape:
        return values
    grown = np.full(shape, np.nan, values.dtype)
    grown[tuple(slice(0, size) for size in values.shape)] = values
    return grown
