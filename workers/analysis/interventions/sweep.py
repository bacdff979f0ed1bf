"""The layer sweep: each layer's transfer alone, all but each, and the first so many.

Which layers carry the shot differs from model to model, so a model's presets come from this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.recipes import Recipe
from workers.analysis.interventions.distances import CHANGE_MADE, DEFINITIONS
from workers.analysis.interventions.edit_videos import HIDDEN_BYTES, EditVideos, Scorer
from workers.analysis.interventions.presets import Proposal, choose, propose
from workers.analysis.interventions.settings import FIGURES, Setting, sweep_settings
from workers.analysis.interventions.videos import Progress, steps_of
from workers.analysis.measures.estimates import Array, Measure
from workers.models.pipelines import LoadedModel

PROPOSALS = 4  # sets of layers that are tried after the sweep


@dataclass(frozen=True)
class Sweep:
    """``measures``: structure, ssim, psnr, change_made and what scorers add, (edit, setting).

    ``stills``: of each edit, (setting + 1, height, width, 3) uint8: the middle frame of the source
    and of each setting's video. ``proposals``: what to make presets of.
    """

    settings: tuple[Setting, ...]
    coordinates: dict[str, list[str | int | float]]
    measures: dict[str, Measure]
    stills: tuple[NDArray[np.uint8], ...]
    proposals: tuple[Proposal, ...]


def _settings(edits: Sequence[Recipe], layers: Sequence[int]) -> list[Setting]:
    anchors = [edit.transfer.anchor for edit in edits if edit.transfer is not None]
    return sweep_settings(layers, anchored=any(anchors))


def sweep_steps(edits: Sequence[Recipe], layers: Sequence[int], most_in_batch: int) -> int:
    """How many steps of the pipeline the sweep takes, at most."""
    total = 0
    for edit in edits:
        generation = edit.generation
        total += 3 * generation.num_inference_steps  # the source, once for each part, and plain
        for count in (len(_settings(edits, layers)) - 1, PROPOSALS):
            total += steps_of([generation] * count, most_in_batch)
    return total


def sweep_layers(
    model: LoadedModel,
    edits: Sequence[Recipe],
    layers: Sequence[int],
    progress: Progress,
    *,
    scorers: Mapping[str, Scorer] | None = None,
    hidden_bytes: int = HIDDEN_BYTES,
) -> Sweep:
    """``edits``: recipes whose source is a plain generation; their choice of steps, branches and
    strength holds, that of layers does not. ``scorers``: more measures, by name.

    Raises SourceMismatch, Unsupported, InvalidRequest.
    """
    scorers = scorers or {}
    settings = _settings(edits, layers)
    videos = [
        EditVideos(model, edit, number, scorers, hidden_bytes) for number, edit in enumerate(edits)
    ]
    values = np.stack([each.measure(settings, progress) for each in videos])
    sets = propose(settings, values.mean(0), PROPOSALS)
    if sets:
        tried = [Setting("proposed", each) for each in sets]
        more = np.stack([each.measure(tried, progress) for each in videos])
        settings, values = settings + tried, np.concatenate([values, more], axis=1)
    return Sweep(
        settings=tuple(settings),
        coordinates={
            "edit": [edit.generation.prompt for edit in edits],
            "setting": [setting.label for setting in settings],
        },
        measures=_as_measures(values, scorers),
        stills=tuple(np.stack(each.stills) for each in videos),
        proposals=choose(settings, values),
    )


def _as_measures(values: Array, scorers: Mapping[str, Scorer]) -> dict[str, Measure]:
    texts = {
        "structure": (
            DEFINITIONS["edges"][0],
            f"{DEFINITIONS['edges'][1]}; of the edit to the source",
        ),
        "ssim": (DEFINITIONS["ssim"][0], f"{DEFINITIONS['ssim'][1]}; of the edit to the source"),
        "psnr": (DEFINITIONS["psnr"][0], f"{DEFINITIONS['psnr'][1]}; of the edit to the source"),
        "change_made": CHANGE_MADE,
    }
    texts |= {name: (scorer.unit, scorer.definition) for name, scorer in scorers.items()}
    return {
        name: Measure(name, ("edit", "setting"), *texts[name], values[..., place])
        for place, name in enumerate((*FIGURES, *scorers))
    }
