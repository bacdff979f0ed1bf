"""Every figure of an analysis, by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.analysis.collector import Collected
from workers.analysis.report.sink_figures import draw_sinks
from workers.analysis.report.sparsity_figures import draw_sparsity
from workers.analysis.report.structure_figures import Figures, draw_structure
from workers.analysis.report.style import styled
from workers.analysis.report.sweep_figures import draw_sweep
from workers.analysis.results import AnalysisResult

CAPTIONS = {
    ("structure", "maps"): "The mean map of each layer: rows are queries, columns keys, in the "
    "order of the tokens. The diagonal stripe is space, the others are time; below, one frame's "
    "square of the map enlarged.",
    ("structure", "decay"): "How the weight of a pair of tokens fades with their distance.",
    ("structure", "shares"): "Weight to the own frame and to others, and how far it reaches.",
    ("structure", "heads"): "Which heads look within a frame and which along time.",
    ("structure", "motion"): "What the maps show of motion.",
    ("structure", "sources"): "Overlap of the maps of two sources, head by head, layer by layer.",
    ("structure", "steps"): "Overlap of the maps of two steps.",
    ("structure", "layers"): "Overlap of the mean maps of two layers.",
    ("sparsity", "mass"): "How much of the weight the largest keys and the best blocks hold.",
    ("sparsity", "heads"): "How many keys each head needs.",
    ("sparsity", "blocks"): "Whether the same blocks are best over steps, branches and sources.",
    ("sparsity", "causal"): "One layer at a time kept at a density: how far the video is from "
    "itself, against the weight that is lost.",
    ("sparsity", "together"): "All layers kept at a density, and all but those that looked sparse "
    "and were not.",
    ("sinks", "strength"): "How much weight the strongest token of each head gets.",
    ("sinks", "where"): "Where the weight of the strongest heads lies in the video.",
    ("sinks", "stability"): "Whether the strongest token is the same one.",
    ("sinks", "ablation"): "What taking sinks out does to the video, beside random tokens (or "
    "heads) of the same number.",
    ("layer_sweep", "layers"): "What the transfer of each layer does.",
    ("layer_sweep", "plane"): "Shot kept against change made.",
}


def draw(
    result: AnalysisResult,
    found: Sequence[Collected] = (),
    stills: Sequence[NDArray[np.uint8]] = (),
) -> Figures:
    with styled():
        if result.kind == "structure":
            return draw_structure(result, found)
        if result.kind == "sparsity":
            return draw_sparsity(result, found)
        if result.kind == "sinks":
            return draw_sinks(result, found)
        assert result.experiment is not None
        return draw_sweep(result.experiment, stills)


def caption(kind: str, name: str) -> str:
    if name.startswith("sheet_"):
        return "The middle frame of the source and of each setting's video."
    return CAPTIONS[kind, name]
