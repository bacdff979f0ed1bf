"""One analysis, from its spec to its result: the entry point of a job, the CLI and the bench."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from schemas.analyses import AnalysedRun, AnalysisSpec, CausalTest, resolve_analysis
from schemas.models import ModelCard
from schemas.recipes import Recipe
from workers.analysis.collect import FilmOf, collect, reads_stored, steps_to_run
from workers.analysis.collector import Collected, CollectPlan
from workers.analysis.compare import compare_sinks, compare_sparsity, compare_structure
from workers.analysis.interventions.ablation import (
    AblationPlan,
    ablate_sinks,
    ablation_steps,
    strongest_sinks,
)
from workers.analysis.interventions.causal import CausalPlan, causal_steps, causal_test
from workers.analysis.interventions.edit_videos import Scorer
from workers.analysis.interventions.sweep import sweep_layers, sweep_steps
from workers.analysis.interventions.videos import OnProgress, Progress, most_in_a_batch
from workers.analysis.measures.estimates import Array, Measure
from workers.analysis.measures.grid import TokenGrid, common_boxes
from workers.analysis.measures.measure_layer import Finding
from workers.analysis.measures.rows import sample_rows
from workers.analysis.results import (
    AnalysisResult,
    Experiment,
    ablation_result,
    causal_result,
    source_result,
    sweep_result,
)
from workers.attention.transfer import StoredAttention
from workers.models.pipelines import LoadedModel

SIGNATURE_BYTES = 512 << 20  # of all that maps are compared by
MOST_BOXES = 1024
LEAST_BOXES = 16

ModelOf = Callable[[Recipe], LoadedModel]
FINDINGS: dict[str, tuple[Finding, ...]] = {
    "structure": ("structure",),
    "sparsity": ("sparsity",),
    "sinks": ("sinks",),
}


def run_analysis(
    model_of: ModelOf,
    spec: AnalysisSpec,
    *,
    stored: Sequence[StoredAttention | None] = (),
    film: FilmOf | None = None,
    scorers: Mapping[str, Scorer] | None = None,
    on_progress: OnProgress | None = None,
) -> AnalysisResult:
    """``model_of(recipe)``: the loaded model of a source; one is asked for at a time.

    ``stored``: for each source, its attention where there is some; it spares a run where that can
    be. ``film``: gives the latents of uploaded films among the sources. ``scorers``: more measures
    of a layer sweep. ``on_progress(done, total)`` hears of each step of the pipeline, ``total``
    known from the first on, and may raise (JobCancelled) to stop. Raises InvalidRequest,
    Unsupported, SourceMismatch, ArtifactMissing, ArtifactCorrupt, and what ``film`` does.
    """
    cards = {each.generation.model: model_of(each).card for each in spec.sources}
    runs = resolve_analysis(spec, cards)
    if spec.kind == "layer_sweep":
        return _swept(model_of, spec, runs, scorers, on_progress)
    plans = collect_plans(spec, runs)
    found, progress = _collected(model_of, spec, runs, plans, stored, film, on_progress)
    result = AnalysisResult(
        kind=spec.kind,
        spec=spec,
        sources=tuple(map(source_result, runs, found)),
        comparisons=_compared(spec, runs, found, cards),
        experiment=_experiment(model_of, spec, runs, found, progress),
    )
    return _reported(result, found)


def _reported(
    result: AnalysisResult,
    found: Sequence[Collected] = (),
    stills: Sequence[NDArray[np.uint8]] = (),
) -> AnalysisResult:
    """With its figures and its page."""
    # matplotlib takes half a second to import, and a worker makes few analyses
    from workers.analysis.report.figures import draw
    from workers.analysis.report.page import report_page

    drawn = replace(result, figures=draw(result, found, stills))
    return replace(drawn, report=report_page(drawn))


def collect_plans(spec: AnalysisSpec, runs: Sequence[AnalysedRun]) -> list[CollectPlan]:
    """What is measured of each source."""
    densities = spec.densities + (() if spec.causal is None else spec.causal.densities)
    grids = [TokenGrid(*run.grid) for run in runs]
    boxes, by_row = None, True
    if spec.kind == "structure":
        boxes, by_row = _boxes(spec, runs, grids)
    return [
        CollectPlan(
            layers=run.layers,
            steps=run.steps,
            branches=run.branches,
            heads=run.heads,
            findings=FINDINGS[spec.kind],
            rows=spec.sampling.rows,
            seed=spec.sampling.seed,
            densities=tuple(sorted(set(densities))),
            masses=tuple(sorted(set(spec.masses))),
            boxes=boxes,
            by_row=by_row,
            pictured=(run.steps[len(run.steps) // 2], run.branches[0]),
        )
        for run in runs
    ]


def _boxes(
    spec: AnalysisSpec, runs: Sequence[AnalysedRun], grids: Sequence[TokenGrid]
) -> tuple[TokenGrid, bool]:
    """Into how many boxes of keys maps are pooled to be compared, and whether rows are kept each
    for itself: where all grids are one, and that many numbers fit."""
    maps = sum(run.maps for run in runs)
    if len(set(grids)) == 1:
        rows = len(sample_rows(grids[0].tokens, spec.sampling.rows, spec.sampling.seed).index)
        fitting = SIGNATURE_BYTES // (4 * maps * rows) - 1
        if fitting >= min(MOST_BOXES, grids[0].tokens):
            return common_boxes(list(grids), MOST_BOXES), True
    fitting = int((SIGNATURE_BYTES / (4 * maps)) ** 0.5)
    return common_boxes(list(grids), min(MOST_BOXES, max(LEAST_BOXES, fitting))), False


def _collected(
    model_of: ModelOf,
    spec: AnalysisSpec,
    runs: Sequence[AnalysedRun],
    plans: Sequence[CollectPlan],
    stored: Sequence[StoredAttention | None],
    film: FilmOf | None,
    on_progress: OnProgress | None,
) -> tuple[list[Collected], Progress]:
    """Each source's run; the progress goes on through the tests that follow."""
    kept = list(stored) or [None] * len(runs)
    counts = []
    for run, plan, each in zip(runs, plans, kept, strict=True):
        model = model_of(run.recipe)
        spared = each is not None and reads_stored(model, each.plan, plan)
        counts.append(steps_to_run(plan, stored=spared))
    total = sum(counts) + _experiment_steps(model_of, spec, runs)
    progress = Progress(total, on_progress)
    found = []
    for run, plan, each in zip(runs, plans, kept, strict=True):
        before = progress.done

        def on_step(done: int, _: int, before: int = before) -> None:
            progress.at(before + done)

        model = model_of(run.recipe)
        found.append(collect(model, run.recipe, plan, stored=each, film=film, on_progress=on_step))
    return found, progress


def _compared(
    spec: AnalysisSpec,
    runs: Sequence[AnalysedRun],
    found: Sequence[Collected],
    cards: Mapping[str, ModelCard],
) -> dict[str, Measure]:
    if spec.kind == "structure":
        same = len(cards) == 1 and len({(run.layers, run.branches) for run in runs}) == 1
        return compare_structure(found, same_model=same)
    return compare_sparsity(found) if spec.kind == "sparsity" else compare_sinks(found)


def _experiment_steps(model_of: ModelOf, spec: AnalysisSpec, runs: Sequence[AnalysedRun]) -> int:
    model = model_of(runs[0].recipe)
    most = most_in_a_batch(model)
    generations = [run.recipe.generation for run in runs]
    if spec.causal is not None:
        return causal_steps(generations, _causal_plan(spec.causal, runs[0]), most)
    if spec.ablations is not None:
        return ablation_steps(generations, _ablation_plan(spec, runs[0], model.card.heads), most)
    return 0


def _experiment(
    model_of: ModelOf,
    spec: AnalysisSpec,
    runs: Sequence[AnalysedRun],
    found: Sequence[Collected],
    progress: Progress,
) -> Experiment | None:
    generations = [run.recipe.generation for run in runs]
    model = model_of(runs[0].recipe)
    if spec.causal is not None:
        masses = masses_at(found, spec.causal.densities)
        plan = _causal_plan(spec.causal, runs[0])
        return causal_result(causal_test(model, generations, masses, plan, progress))
    if spec.ablations is not None:
        ablations = _ablation_plan(spec, runs[0], model.card.heads, found)
        return ablation_result(ablate_sinks(model, generations, ablations, progress))
    return None


def _causal_plan(causal: CausalTest, run: AnalysedRun) -> CausalPlan:
    return CausalPlan(
        layers=run.layers,
        densities=causal.densities,
        temperatures=causal.temperatures,
        control=causal.control,
        dense_layers=causal.dense_layers,
    )


def masses_at(found: Sequence[Collected], densities: Sequence[float]) -> Array:
    """The retained mass of each layer at each density: the mean over all else, (layer, density)."""
    values = np.stack([one.measures("sparsity")["retained_mass"].values for one in found])
    # (source, branch, step, layer, head, density)
    chosen = [found[0].plan.densities.index(density) for density in densities]
    mean: Array = values.mean((0, 1, 2, 4))[:, chosen]
    return mean


def _ablation_plan(
    spec: AnalysisSpec, run: AnalysedRun, heads: int, found: Sequence[Collected] = ()
) -> AblationPlan:
    """With the sinks that were found; before, as many as there will be. ``heads``: of a layer."""
    assert spec.ablations is not None
    count = min(spec.ablations.sinks, len(run.layers) * len(run.heads))
    strength = token = np.ones((1, len(run.layers), len(run.heads)))
    if found:
        strength, token = (
            np.concatenate(
                [
                    one.measures("sinks")[name].values[..., 0].reshape(-1, *strength.shape[1:])
                    for one in found
                ]
            )
            for name in ("strength", "token")
        )
    sinks = strongest_sinks(strength, token, run.layers, run.heads, count)
    frames, rows, columns = run.grid
    return AblationPlan(
        sinks=tuple(sinks),
        tokens=frames * rows * columns,
        heads=heads,
        controls=spec.ablations.controls,
        seed=spec.sampling.seed,
    )


def _swept(
    model_of: ModelOf,
    spec: AnalysisSpec,
    runs: Sequence[AnalysedRun],
    scorers: Mapping[str, Scorer] | None,
    on_progress: OnProgress | None,
) -> AnalysisResult:
    model = model_of(runs[0].recipe)
    total = sweep_steps(spec.sources, runs[0].layers, most_in_a_batch(model))
    progress = Progress(total, on_progress)
    sweep = sweep_layers(model, spec.sources, runs[0].layers, progress, scorers=scorers)
    result = AnalysisResult(
        kind=spec.kind,
        spec=spec,
        sources=(),
        experiment=sweep_result(sweep),
    )
    return _reported(result, stills=sweep.stills)
