"""What an analysis found: typed measures with their axes, as JSON, figures and one HTML page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.analyses import AnalysedRun, AnalysisKind, AnalysisSpec
from workers.analysis.collector import Collected
from workers.analysis.interventions.ablation import Ablation
from workers.analysis.interventions.causal import Causal
from workers.analysis.interventions.sweep import Sweep
from workers.analysis.measures.estimates import Measure, plain
from workers.analysis.measures.measure_layer import Finding
from workers.analysis.measures.rows import block_size
from workers.analysis.measures.sinks import TOP

RESULT_VERSION = 1
Coordinates = dict[str, list[Any]]


@dataclass(frozen=True)
class SourceResult:
    """One source's run and its measures."""

    run: AnalysedRun
    coordinates: Coordinates
    measures: Mapping[Finding, Mapping[str, Measure]]

    def to_json(self) -> dict[str, Any]:
        generation = self.run.recipe.generation
        return {
            "model": generation.model,
            "prompt": generation.prompt,
            "seed": generation.seed,
            "edited_from": None if self.run.recipe.source is None
            else self.run.recipe.source.generation.prompt,
            "grid": list(self.run.grid),
            "coordinates": self.coordinates,
            "measures": {kind: as_json(each) for kind, each in self.measures.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """What changing attention, or transferring it, did to the video. ``found``: in words' place,
    the layers, sinks or presets that it names."""

    coordinates: Coordinates
    measures: Mapping[str, Measure]
    found: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "coordinates": self.coordinates,
            "measures": as_json(self.measures),
            "found": dict(self.found),
        }


@dataclass(frozen=True)
class AnalysisResult:
    """``comparisons``: between sources, steps, layers and models; their axes count what those of
    the first source do, and ``source`` the sources. ``figures``: PNGs by name. ``report``: one
    HTML page that holds them."""

    kind: AnalysisKind
    spec: AnalysisSpec
    sources: tuple[SourceResult, ...]
    comparisons: Mapping[str, Measure] = field(default_factory=dict)
    experiment: Experiment | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    report: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": RESULT_VERSION,
            "kind": self.kind,
            "spec": self.spec.model_dump(mode="json", exclude={"sources"}),
            "sources": [each.to_json() for each in self.sources],
            "comparisons": as_json(self.comparisons),
            "experiment": None if self.experiment is None else self.experiment.to_json(),
            "figures": sorted(self.figures),
        }


def as_json(measures: Mapping[str, Measure]) -> dict[str, Any]:
    return {name: measure.to_json() for name, measure in measures.items()}


def source_result(run: AnalysedRun, collected: Collected) -> SourceResult:
    return SourceResult(
        run=run,
        coordinates=coordinates_of(collected),
        measures={kind: collected.measures(kind) for kind in collected.plan.findings},
    )


def coordinates_of(collected: Collected) -> Coordinates:
    """What each axis of a source's measures counts."""
    plan, grid = collected.plan, collected.grid
    every: Coordinates = {
        "branch": list(plan.branches),
        "step": list(plan.steps),
        "layer": list(plan.layers),
        "head": list(collected.heads),
    }
    if "structure" in plan.findings:
        every |= {
            "frame_distance": list(range(grid.frames)),
            "patch_distance": list(range(grid.distance_bins)),
            "signed_frame_distance": list(range(1 - grid.frames, grid.frames)),
            "direction": ["down", "right"],
        }
    if "sparsity" in plan.findings:
        size = block_size(grid.tokens)
        every |= {
            "density": list(plan.densities),
            "mass": list(plan.masses),
            "block": [f"{size} x {size} tokens"],
        }
    if "sinks" in plan.findings:
        every |= {
            "rank": list(range(TOP)),
            "coordinate": ["frame", "row", "column"],
            "frame": list(range(grid.frames)),
        }
    return every


def causal_result(causal: Causal) -> Experiment:
    found = {
        "dense_layers": list(causal.dense_layers),
        "looks_sparse_and_is_not": list(causal.looks_sparse),
    }
    return Experiment(causal.coordinates, causal.measures, found)


def ablation_result(ablation: Ablation) -> Experiment:
    sinks = [
        {name: plain(value) for name, value in sink._asdict().items()}
        for sink in ablation.plan.sinks
    ]
    return Experiment(ablation.coordinates, ablation.measures, {"sinks": sinks})


def sweep_result(sweep: Sweep) -> Experiment:
    coordinates: Coordinates = sweep.coordinates | {
        "layers": [list(setting.layers) for setting in sweep.settings]
    }
    proposals = [
        {
            "name": each.name,
            "layers": list(each.layers),
            "structure": plain(each.structure),
            "change_made": plain(each.change_made),
        }
        for each in sweep.proposals
    ]
    return Experiment(coordinates, sweep.measures, {"proposals": proposals})
