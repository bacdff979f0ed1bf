"""What an analysis would cost, by arithmetic alone: runs, videos, and how that compares."""

from collections.abc import Mapping

from schemas.analyses import AnalysedRun, AnalysisSpec, resolve_analysis
from schemas.attention import TransferSpec
from schemas.base import Frozen
from schemas.models import ModelCard
from schemas.selection import branches_of, resolve_transfer

# a measured step's time beside its own, at 128 rows of each map: bench/analysis
STATISTICS_COST = 0.5
SOURCE_RUNS = 2  # of each edit in a sweep: once for the layers, once for what is proposed then
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
    costs = [_cost(spec, run, cards[run.recipe.generation.model]) for run in runs]
    return AnalysisEstimate(
        kind=spec.kind,
        sources=len(runs),
        maps=0 if spec.kind == "layer_sweep" else sum(run.maps for run in runs),
        videos=sum(videos_of(spec, run) for run in runs),
        passes=round(sum(passes for passes, _ in costs)),
        cost=sum(cost for _, cost in costs),
    )


def _cost(spec: AnalysisSpec, run: AnalysedRun, card: ModelCard) -> tuple[float, float]:
    """The passes of one source, and its time in units of a plain generation."""
    generation = run.recipe.generation
    steps = generation.num_inference_steps
    a_video = steps * len(branches_of(card, generation))
    videos = videos_of(spec, run)
    if spec.kind == "layer_sweep":
        whole = SOURCE_RUNS + 1  # and plain
        transfer = resolve_transfer(run.recipe.transfer or TransferSpec(), card, generation)
        computed = len(transfer.computed_steps) if transfer.anchor is not None else a_video
        passes = whole * a_video + (videos - whole) * computed
        return passes, passes / a_video
    ran = _ran(run, steps, a_video)
    cost = ran + videos + len(run.steps) / steps * STATISTICS_COST
    return (ran + videos) * a_video, cost


def _ran(run: AnalysedRun, steps: int, a_video: int) -> float:
    """How much of a plain generation is run for what is measured. An uploaded film is computed at
    the steps alone that are looked at, or that its edit computes, and there in one branch."""
    *made, first = run.recipe.chain()
    whole = (run.steps[-1] + 1) / steps
    if first.film is None:
        return whole * len(run.recipe.chain())
    computed = made[-1].attended_steps if made else run.steps
    return whole * len(made) + len(computed) / a_video


def videos_of(spec: AnalysisSpec, run: AnalysedRun) -> int:
    """How many videos are made of one source, whole, beside the run that is measured."""
    layers = len(run.layers)
    if spec.kind == "layer_sweep":
        anchored = any(each.transfer and each.transfer.anchor for each in spec.sources)
        return SOURCE_RUNS + sweep_videos(layers, anchored=anchored) + PROPOSALS
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
