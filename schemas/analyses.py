"""Analyses of attention: what is asked for, whether the models have it, and what it would cost.

Four kinds, after the findings of "Analysis of Attention in Video Diffusion Transformers"
(arXiv 2504.10317): how maps are structured, how sparse they are and whether that can be used, which
tokens are sinks, and which layers carry the shot of an edit. Arithmetic alone: nothing runs.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.attention import (
    Branch,
    Branches,
    Index,
    Indices,
    Steps,
    resolve_indices,
    resolve_steps,
)
from schemas.base import Frozen, OneError
from schemas.errors import InvalidRequest, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.selection import branches_of

AnalysisKind = Literal["structure", "sparsity", "sinks", "layer_sweep"]
MAX_SOURCES = 16
MAX_MAPS = 20_000  # measured in one analysis, over all its sources
DEFAULT_STEPS = 5

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1, max_length=16), OneError()]


class Sampling(Frozen):
    """Which rows of a map are looked at. ``rows`` None: all, and every number is exact.

    Else about so many, spread over the whole video, and numbers have an interval.
    """

    rows: Annotated[int, Field(ge=16, le=1 << 20)] | None = 128
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class CausalTest(Frozen):
    """Keep a share of each row's weights in one layer, make the video, and measure how far it is.

    ``control``: also with as many random weights. ``dense_layers``: those that the second test,
    of all other layers together, leaves alone; None: those whose video is far worse than the
    others' in the first.
    """

    densities: Annotated[tuple[Share, ...], Field(min_length=1, max_length=8), OneError()] = (
        0.5,
        0.2,
        0.1,
    )
    temperatures: Annotated[
        tuple[Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)], ...],
        Field(min_length=1, max_length=4),
        OneError(),
    ] = (1.0,)
    control: bool = False
    dense_layers: Annotated[tuple[Index, ...], Field(max_length=4096), OneError()] | None = None


class Ablations(Frozen):
    """Take the strongest ``sinks`` out, each beside ``controls`` random draws of its budget."""

    sinks: Annotated[int, Field(ge=1, le=16)] = 3
    controls: Annotated[int, Field(ge=1, le=32)] = 3


class AnalysisChoices(Frozen):
    """What is looked at. ``None`` of layers, heads, branches: all; of kinds sparsity and sinks the
    branches that every source has. ``None`` of steps: five, evenly spaced.

    ``causal`` belongs to kind sparsity and ``ablations`` to kind sinks; without them nothing is
    changed, only measured. A layer sweep takes heads, steps and branches from each edit's transfer.
    """

    kind: AnalysisKind
    layers: Indices | None = None
    heads: Indices | None = None
    steps: Steps | None = None
    branches: Branches | None = None
    sampling: Sampling = Sampling()
    densities: Shares = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    masses: Shares = (0.5, 0.8, 0.9, 0.95, 0.99)
    causal: CausalTest | None = None
    ablations: Ablations | None = None

    @model_validator(mode="after")
    def _belongs_to_the_kind(self) -> Self:
        for field, kind in (("causal", "sparsity"), ("ablations", "sinks")):
            if getattr(self, field) is not None and self.kind != kind:
                raise ValueError(f"{field}: belongs to kind {kind!r}, not to {self.kind!r}")
        if self.kind == "layer_sweep":
            for field in ("heads", "steps", "branches"):
                if getattr(self, field) is not None:
                    raise ValueError(f"{field}: a layer sweep takes them from each edit's transfer")
        return self


class AnalysisSpec(AnalysisChoices):
    """One analysis. ``sources``: the runs that are looked at, films that a run follows among them;
    of a layer sweep, edits of plain generations."""

    sources: Annotated[tuple[Recipe, ...], Field(min_length=1, max_length=MAX_SOURCES)]


class AnalysedRun(Frozen):
    """One source with every choice made. ``grid``: tokens as (frames, rows, columns)."""

    recipe: Recipe
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    steps: tuple[int, ...]
    branches: tuple[Branch, ...]
    grid: tuple[int, int, int]

    @property
    def maps(self) -> int:
        return len(self.layers) * len(self.heads) * len(self.steps) * len(self.branches)


def resolve_analysis(spec: AnalysisSpec, cards: Mapping[str, ModelCard]) -> tuple[AnalysedRun, ...]:
    """``spec`` against the models' cards, by id. Raises InvalidRequest or Unsupported, naming the
    field, its value and what is allowed."""
    _check_sources(spec, cards)
    had = [_branches_had(recipe, cards) for recipe in spec.sources]
    if spec.kind in ("sparsity", "sinks"):  # whose numbers are means over the sources
        had = [tuple(name for name in had[0] if all(name in each for each in had))] * len(had)
    runs = tuple(map(partial(_resolve, spec, cards), spec.sources, had))
    for number, run in enumerate(runs):
        if spec.kind in ("sparsity", "sinks") and run.grid != runs[0].grid:
            raise InvalidRequest(
                f"sources.{number}: its tokens {run.grid} differ from sources.0's "
                f"{runs[0].grid}, and blocks and tokens of two grids cannot be compared; allowed "
                "are sources of one size and length, or kind 'structure'",
                param=f"sources.{number}",
            )
    maps = sum(run.maps for run in runs)
    if spec.kind != "layer_sweep" and maps > MAX_MAPS:
        raise InvalidRequest(
            f"steps: {maps} maps are too many (sources x layers x heads x steps x branches); "
            f"allowed are {MAX_MAPS}",
            param="steps",
        )
    if spec.causal is not None and spec.causal.dense_layers:
        resolve_indices(
            spec.causal.dense_layers, cards[_model(spec, 0)].layers, "causal.dense_layers"
        )
    return runs


def _model(spec: AnalysisSpec, number: int) -> str:
    return spec.sources[number].generation.model


def _check_sources(spec: AnalysisSpec, cards: Mapping[str, ModelCard]) -> None:
    for number, recipe in enumerate(spec.sources):
        name, param = recipe.generation.model, f"sources.{number}"
        if name not in cards:
            known = ", ".join(sorted(cards)) or "none"
            raise InvalidRequest(
                f"{param}.model: {name!r} is not served; served are {known}", param=f"{param}.model"
            )
        if not cards[name].supports_transfer:
            raise Unsupported(
                f"{param}.model: {name!r} cannot be analysed: {cards[name].no_transfer_reason}",
                param=f"{param}.model",
            )
        if spec.kind != "structure" and name != _model(spec, 0):
            raise InvalidRequest(
                f"{param}.model: {name!r} differs from sources.0's {_model(spec, 0)!r}; an "
                f"analysis of kind {spec.kind!r} is of one model, kind 'structure' may compare "
                "several",
                param=f"{param}.model",
            )
        if recipe.generation.step_cache is not None:
            raise InvalidRequest(
                f"{param}.step_cache: a run with a step cache has whole attention at some steps "
                "alone; analyse the same recipe without it",
                param=f"{param}.step_cache",
            )
        _check_made_anew(spec, recipe, param)


def _check_made_anew(spec: AnalysisSpec, recipe: Recipe, param: str) -> None:
    """Raise InvalidRequest for a source that is no plain generation where videos are made of it."""
    if spec.kind == "layer_sweep":
        if recipe.source is None or not recipe.source.is_plain:
            raise InvalidRequest(
                f"{param}: a layer sweep needs an edit whose source is a plain generation; it is "
                f"{_what_it_is(recipe)}",
                param=param,
            )
    elif not recipe.is_plain and (spec.causal is not None or spec.ablations is not None):
        field = "causal" if spec.causal is not None else "ablations"
        raise InvalidRequest(
            f"{param}: it is {_what_it_is(recipe)}, and {field} needs plain generations",
            param=param,
        )


def _what_it_is(recipe: Recipe) -> str:
    if recipe.is_plain:
        return "a plain generation"
    if recipe.film is not None:
        return "an uploaded video"
    of_film = recipe.chain()[-1].film is not None
    return "an edit of an uploaded video" if of_film else "an edit"


def _branches_had(recipe: Recipe, cards: Mapping[str, ModelCard]) -> tuple[Branch, ...]:
    if recipe.film is not None or (recipe.transfer is not None and recipe.transfer.anchor):
        return ("cond",)
    return branches_of(cards[recipe.generation.model], recipe.generation)


def _resolve(
    spec: AnalysisSpec, cards: Mapping[str, ModelCard], recipe: Recipe, had: tuple[Branch, ...]
) -> AnalysedRun:
    generation = recipe.generation
    card = cards[generation.model]
    for branch in spec.branches or ():
        if branch not in had:
            raise InvalidRequest(
                f"branches: {branch!r} is not a branch of every source; allowed is "
                f"{', '.join(had)} (model {card.id!r} at guidance_scale "
                f"{generation.guidance_scale:g})",
                param="branches",
            )
    return AnalysedRun(
        recipe=recipe,
        layers=resolve_indices(spec.layers, card.layers, "layers"),
        heads=resolve_indices(spec.heads, card.heads, "heads"),
        steps=_steps(spec, recipe),
        branches=tuple(each for each in had if spec.branches is None or each in spec.branches),
        grid=card.grid.tokens(generation.width, generation.height, generation.num_frames),
    )


def _steps(spec: AnalysisSpec, recipe: Recipe) -> tuple[int, ...]:
    """Those asked for, or as many evenly spaced ones for every source, first and last included."""
    there = recipe.attended_steps
    if spec.steps is not None:
        asked = resolve_steps(spec.steps, recipe.generation.num_inference_steps, "steps")
        missing = [step for step in asked if step not in there]
        if missing:
            raise InvalidRequest(
                f"steps: {missing[0]} is not computed by a source that is an anchored edit; "
                f"computed are {', '.join(map(str, there))}",
                param="steps",
            )
        return asked
    count = min(DEFAULT_STEPS, *(len(each.attended_steps) for each in spec.sources))
    if count == 1:
        return there[:1]
    return tuple(there[round(n * (len(there) - 1) / (count - 1))] for n in range(count))
