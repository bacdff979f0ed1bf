"""A small folder in FiVE-Bench's layout, made with the bundled model: sources, masks and edits.

    python -m bench.five.make --out runs/five --videos 2

Sources are the model's own films, edits are the service's (anchored, with the presets of their
kind), and masks are what the model's judge calls the object in source and edit. It shows that the
measures run; its figures are of drawn films, and not to be held against the published ones.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.five.layout import write_frames
from schemas.attention import PresetName, TransferSpec
from schemas.recipes import Recipe
from schemas.selection import presets_of
from training.judge import judge_films, load_judge
from workers.check.measure import kept_of, measure
from workers.engine.dry_run import generation_of
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

SCENES = Path(__file__).parents[2] / "models" / "scenes"
SOURCE = "A car is driving on the highway."


class Kind(NamedTuple):
    """``number``: of the benchmark's six."""

    number: int
    preset: PresetName
    prompt: str
    save_dir: str


KINDS = (
    Kind(1, "object", "A truck is driving on the highway.", "1_truck"),
    Kind(3, "recolour", "A red car is driving on the highway.", "3_red"),
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args(argv)
    model = load_model(ModelSettings(id="scenes", path=str(SCENES), dtype="float32"))
    entries: dict[int, list[dict[str, str]]] = {kind.number: [] for kind in KINDS}
    for number in range(asked.videos):
        name = f"{number + 1:04d}_car"
        make_video(model, asked.out, name, 2000 + number, asked.steps)
        for kind in KINDS:
            entries[kind.number].append(
                {
                    "video_name": name,
                    "source_prompt": SOURCE,
                    "target_prompt": kind.prompt,
                    "save_dir": kind.save_dir,
                    "editing_type_id": str(kind.number),
                }
            )
    prompts = asked.out / "data" / "edit_prompt"
    prompts.mkdir(parents=True, exist_ok=True)
    for kind_number, listed in entries.items():
        (prompts / f"edit{kind_number}_FiVE.json").write_text(json.dumps(listed, indent=1))
    print(f"python -m bench.five --data {asked.out / 'data'} --results {asked.out / 'results'}")
    return 0


def make_video(model: LoadedModel, out: Path, name: str, seed: int, steps: int) -> None:
    """One source with its masks, and its edit of each kind."""
    generation = generation_of(model, steps=steps)
    generation = generation.model_copy(update={"prompt": SOURCE, "seed": seed})
    source = Recipe(generation=generation)
    stored, plain = kept_of(model, source, "hidden")
    films = [plain.frames]
    for kind in KINDS:
        preset = presets_of(model.card)[kind.preset]
        stop = preset.stop(steps)
        transfer = TransferSpec(
            anchor=preset.anchor_of(steps),
            layers=preset.layers,
            steps=None if stop is None else tuple(range(stop)),
        )
        words = generation.model_copy(update={"prompt": kind.prompt})
        edit = Recipe(generation=words, source=source, transfer=transfer)
        films.append(measure(model, edit, stored=stored).frames)
        write_frames(out / "results" / name / kind.save_dir, films[-1])
    write_frames(out / "data" / "images" / name, plain.frames)
    masks = (255 * objects_in(films)).astype(np.uint8)
    write_frames(out / "data" / "bmasks" / name, masks[..., None], mask=True)


def objects_in(films: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Where any of ``films`` (F, H, W, 3) shows its object: (F, H, W)."""
    stack = torch.from_numpy(np.stack(films)).movedim(-1, 1).float() / 255
    seen = judge_films(load_judge(), stack)
    mask: NDArray[np.bool_] = seen.mask.any(0).numpy()
    return mask


if __name__ == "__main__":
    raise SystemExit(main())
