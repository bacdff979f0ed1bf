"""What an analysis would cost, by arithmetic alone: runs, videos, and how that compares."""

from collections.abc import Mapping

from schemas.analyses import AnalysedRun, AnalysisSpec, resolve_analysis
from schemas.base import Frozen
from schemas.models import ModelCard

# a measured step's time beside its own, at 128 rows of each map: docs/experiments/analysis.md
STATISTICS_COST = 0.35
PROPOSALS = 4  # sets of layers that a sweep tries after it has measured the layers


class AnalysisEstimate(Frozen):
    """``maps``: measured in all. ``videos``: made whole, for tests that change attention.

    ``passes``: of the transformer, in all. ``cost``: time in units of a plain generation of each
    source; of a sweep at most this.
    """

    kind: str
    sources: int
    maps: int
    videos: int
    passes: int
    cost: float


def estimate_analysis(spec: AnalysisSpec, cards: Mapping[str, ModelCard]) -> AnalysisEstimate:
    """Raises InvalidRequest or Unsupported, as the analysis itself would."""
    runs = resolve_analysis(spec, cards)
    videos = [videos_of(spec, run) for run in runs]
    passes = cost = 0.0
    for run, made in zip(runs, videos, strict=True):
        steps = run.recipe.generation.num_inference_steps
        calls = len(cards[run.recipe.generation.model].branches)
        calls = calls if run.recipe.generation.guidance_scale > 1 else 1
        measured = 0 if spec.kind == "layer_sweep" else len(run.steps)
        ran = 0 if spec.kind == "layer_sweep" else (run.steps[-1] + 1) * len(run.recipe.chain())
        passes += (ran + made * steps) * calls
        cost += ran / steps + measured * STATISTICS_COST / steps + made
    return AnalysisEstimate(
        kind=spec.kind,
        sources=len(runs),
        maps=0 if spec.kind == "layer_sweep" else sum(run.maps for run in runs),
        videos=sum(videos),
        passes=round(passes),
        cost=cost,
    )


def videos_of(spec: AnalysisSpec, run: AnalysedRun) -> int:
    """How many videos are made of one source, whole, beside the run that is measured."""
    layers = len(run.layers)
    if spec.kind == "layer_sweep":
        anchored = any(each.transfer and each.transfer.anchor for each in spec.sources)
        # the source once for each part
        return 2 + sweep_videos(layers, anchored=anchored) + PROPOSALS
    if spec.causal is not None:
        cells = len(spec.causal.densities) * len(spec.causal.temperatures)
        alone = layers * cells * (2 if spec.causal.control else 1)
        return 2 + alone + 2 * cells  # the video as it is, twice, and two sets of layers
    if spec.ablations is not None:
        sinks = min(spec.ablations.sinks, layers * len(run.heads))
        targets = sinks + 1 if sinks > 1 else 1  # and all together
        return 1 + targets * 3 * (1 + spec.ablations.controls)
    return 0


def sweep_videos(layers: int, *, anchored: bool) -> int:
    """Plain, none, all; each alone, all but each, the first so many: each set of layers once."""
    first = 3 if anchored else 2
    if layers == 1:
        return first
    return first + layers + (layers if layers > 2 else 0) + max(0, layers - 3)
