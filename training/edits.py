"""The paper's edits on the bundled model: prompts, what each asks for, and how one is scored.

Owns the list of edits and the figures of one (source, plain, edit) triple; reporting is the
bench's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.drawing.fitting import fit_object, is_whole
from training.drawing.scenes import COLOURS, OBJECTS, SEASONS
from training.judge import Verdict
from training.metrics import edge_correlation, mask_iou, psnr_outside

SOURCE = "A car is driving on the highway."
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Edit:
    """An edit of SOURCE, and the attribute it asks for."""

    name: str
    prompt: str
    kind: Literal["recolour", "restyle", "object"]  # the preset that it is made with
    obj: str = "car"
    colour: str | None = None
    season: str | None = None


EDITS = (
    Edit("red", "A red car is driving on the highway.", "recolour", colour="red"),
    Edit("blue", "A blue car is driving on the highway.", "recolour", colour="blue"),
    Edit("winter", "A car is driving on the highway in the winter.", "restyle", season="winter"),
    Edit("night", "A car is driving on the highway at night.", "restyle", season="night"),
    Edit("truck", "A truck is driving on the highway.", "object", obj="truck"),
    Edit("dog", "A dog is running on the grass.", "object", obj="dog"),
)


def change_made(edit: Edit, seen: Verdict) -> Values:
    """1.0 where what the edit asks for is there, else 0.0: (B,).

    A colour or season counts only where an object is there to carry it.
    """
    if edit.colour is not None:
        made = (seen.colour == COLOURS.index(edit.colour)) & (seen.obj < len(OBJECTS))
    elif edit.season is not None:
        made = (seen.season == SEASONS.index(edit.season)) & (seen.obj < len(OBJECTS))
    else:
        made = seen.obj == OBJECTS.index(edit.obj)
    share: Values = np.asarray(made, dtype=np.float64)
    return share


def score(
    edit: Edit, films: Tensor, seen: Verdict, source: Tensor, source_seen: Verdict
) -> dict[str, Values]:
    """Figures of each film against its source, (B,) each, by name.

    `whole` asks for the object that the edit names, or else the source's.
    """
    fit = fit_object(films, seen.mask, edit.obj)
    return {
        "structure": edge_correlation(films, source).double().cpu().numpy(),
        "iou": mask_iou(seen.mask, source_seen.mask).double().cpu().numpy(),
        "change_made": change_made(edit, seen),
        "whole": is_whole(fit).double().cpu().numpy(),
        "untouched": psnr_outside(films, source, seen.mask, source_seen.mask)
        .double()
        .cpu()
        .numpy(),
    }
