"""What carries the shot on this model: layers first, then steps and scale of what they give.

Cheap stages first. Stage one makes every video of the layer sweep (each layer alone, all but each,
the first so many) in few steps; stage two tries the sets of layers that came out of it, in the
model's own steps, with parts of the steps and with scales. No classifier is needed: structure kept,
the share of the change that the new prompt's own video makes, and how much changes where the edit
changes most and elsewhere.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.attention import Anchor, Preset, PresetName, TransferSpec
from schemas.recipes import Generation, Recipe
from workers.analysis.interventions.distances import luminance
from workers.analysis.interventions.edit_videos import EditVideos, Scorer
from workers.analysis.interventions.settings import CHANGE, FIGURES, STRUCTURE, Setting
from workers.analysis.interventions.sweep import sweep_layers
from workers.analysis.interventions.videos import Progress
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel

CHEAP_STEPS = 8
STEP_SHARES = (0.3, 1.0)
SCALES = (1.0, 1.5)
SETS = 3  # of layers that stage two tries
Say = Callable[[str], None]


class Edit(NamedTuple):
    """One line of the prompts' file: ``preset``: the kind of edit that it stands for."""

    preset: PresetName
    source: str
    prompt: str


class Row(NamedTuple):
    """One setting, over the edits of a preset: the mean of each measure."""

    preset: PresetName
    stage: int
    layers: tuple[int, ...]
    steps: float
    scale: float
    structure: float
    change_made: float
    inside: float
    outside: float
    score: float


@dataclass
class Swept:
    """``sheets``: of each edit, its label and (video, height, width, 3) stills with labels."""

    rows: list[Row] = field(default_factory=list)
    sheets: list[tuple[str, list[str], NDArray[np.uint8]]] = field(default_factory=list)

    def presets(self) -> dict[PresetName, Preset]:
        """The best row of stage two, of each kind of edit; ``auto`` by the mean of all."""
        found: dict[PresetName, Preset] = {}
        whole: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.stage == 2:
                whole[row.layers, row.steps].append(row)
        for name in {row.preset for row in self.rows}:
            # the scale is a request's: presets are of scale 1
            mine = [r for r in self.rows if r.stage == 2 and r.preset == name and r.scale == 1]
            best = max(mine, key=lambda row: (row.score, -len(row.layers)))
            found[name] = Preset(layers=best.layers, steps=best.steps)
        plain = {at: [r for r in rows if r.scale == 1] for at, rows in whole.items()}
        layers, steps = max(plain, key=lambda at: float(np.mean([r.score for r in plain[at]])))
        found["auto"] = Preset(layers=layers, steps=steps)
        return found


def sweep_model(
    model: LoadedModel, edits: Sequence[Edit], generation: Generation, steps: int, say: Say
) -> Swept:
    """``generation``: of every source, but for its prompt; ``steps``: of stage two.

    Raises SourceMismatch, Unsupported, InvalidRequest.
    """
    swept = Swept()
    kinds: dict[PresetName, list[Edit]] = defaultdict(list)
    for edit in edits:
        kinds[edit.preset].append(edit)
    for preset, mine in kinds.items():
        sets = _layers(model, preset, mine, generation, swept, say)
        _steps_and_scales(model, preset, mine, sets, (generation, steps), swept, say)
    return swept


def recipe_of(
    edit: Edit, generation: Generation, *, share: float = 1.0, scale: float = 1.0
) -> Recipe:
    """An anchored edit with an interval such that at least four steps are computed."""
    total = generation.num_inference_steps
    anchor = Anchor(interval=max(1, min(5, total // 4)), scale=scale)
    chosen = tuple(range(max(1, round(share * total))))
    source = generation.model_copy(update={"prompt": edit.source})
    return Recipe(
        generation=generation.model_copy(update={"prompt": edit.prompt}),
        source=Recipe(generation=source),
        transfer=TransferSpec(anchor=anchor, steps=None if share == 1 else chosen),
    )


def _layers(
    model: LoadedModel,
    preset: PresetName,
    edits: Sequence[Edit],
    generation: Generation,
    swept: Swept,
    say: Say,
) -> list[tuple[int, ...]]:
    """Stage one. The sets of layers for stage two: no map, all, and those proposed."""
    cheap = generation.model_copy(
        update={"num_inference_steps": min(CHEAP_STEPS, generation.num_inference_steps)}
    )
    recipes = [recipe_of(edit, cheap) for edit in edits]
    every = tuple(range(model.card.layers))
    found = sweep_layers(model, recipes, every, Progress(0, None), scorers=SCORERS)
    names = ("structure", "change_made", "inside", "outside")
    values = {name: found.measures[name].values.mean(0) for name in names}
    plain = float(values["structure"][0])
    for place, setting in enumerate(found.settings):
        structure, change, inside, outside = (float(values[name][place]) for name in names)
        score = score_of(structure, change, plain)
        swept.rows.append(
            Row(preset, 1, setting.layers, 1.0, 1.0, structure, change, inside, outside, score)
        )
    for edit, stills in zip(edits, found.stills, strict=True):
        labels = ["source", *(setting.label for setting in found.settings)]
        swept.sheets.append((f"{preset}: {edit.prompt}", labels, stills))
    sets = list(dict.fromkeys(each.layers for each in found.proposals))[: SETS - 1]
    say(f"{preset}: {len(found.settings)} settings of layers; on with {sets}")
    return [*sets, every] if every not in sets else sets


def _steps_and_scales(
    model: LoadedModel,
    preset: PresetName,
    edits: Sequence[Edit],
    sets: Sequence[tuple[int, ...]],
    run: tuple[Generation, int],
    swept: Swept,
    say: Say,
) -> None:
    """Stage two, at the model's own steps."""
    generation = run[0].model_copy(update={"num_inference_steps": run[1]})
    settings = [Setting("plain", ()), *(Setting("proposed", each) for each in sets)]
    for share in STEP_SHARES:
        for scale in SCALES:
            values = np.stack(
                [
                    EditVideos(
                        model, recipe_of(edit, generation, share=share, scale=scale), n, SCORERS
                    ).measure(settings, Progress(0, None))
                    for n, edit in enumerate(edits)
                ]
            ).mean(0)
            plain = float(values[0, STRUCTURE])
            for layers, figures in zip(sets, values[1:], strict=True):
                kept, made = float(figures[STRUCTURE]), float(figures[CHANGE])
                inside, outside = (float(each) for each in figures[len(FIGURES) :])
                score = score_of(kept, made, plain)
                swept.rows.append(
                    Row(preset, 2, layers, share, scale, kept, made, inside, outside, score)
                )
    best = max((row for row in swept.rows if row.preset == preset), key=lambda row: row.score)
    say(f"{preset}: best {list(best.layers)}, {best.steps:g} of the steps, scale {best.scale:g}")


def score_of(structure: float, change: float, plain: float) -> float:
    """Of the structure that the plain video loses, the share that this keeps, times the change."""
    change = float(np.clip(np.nan_to_num(change, nan=1.0), 0, 1))
    return (structure - plain) / max(1 - plain, 1e-6) * change


def change_of(edit: Frames, source: Frames, *, inside: bool) -> float:
    """Mean change of luminance (0 to 1) of the pixels that change most, or of all others.

    The two are told apart by Otsu's threshold over all pixels and frames.
    """
    pairs = zip(edit, source, strict=True)
    change = np.stack([(luminance(a) - luminance(b)).abs().numpy() for a, b in pairs])
    counts, bounds = np.histogram(change, bins=64, range=(0.0, max(float(change.max()), 1e-6)))
    middles = (bounds[:-1] + bounds[1:]) / 2
    below, sums = counts.cumsum(), (counts * middles).cumsum()
    above = below[-1] - below
    means = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    most = change > bounds[int((below * above * (means[0] - means[1]) ** 2).argmax()) + 1]
    chosen = change[most if inside else ~most]
    return float(chosen.mean()) if chosen.size else 0.0


SCORERS = {
    "inside": Scorer(
        "1",
        "mean change of luminance where the edit changes most (Otsu's threshold)",
        lambda edit, source, plain, number: change_of(edit, source, inside=True),
    ),
    "outside": Scorer(
        "1",
        "mean change of luminance everywhere else",
        lambda edit, source, plain, number: change_of(edit, source, inside=False),
    ),
}
