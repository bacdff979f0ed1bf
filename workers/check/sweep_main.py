"""What carries the shot on a model, by the edits of a file: `retake models sweep MODEL`.

FILE has one edit a line, as `preset | the source's prompt | the edit's prompt`, with preset one of
recolour, restyle, object, background. Writes sweep.md, sheet-N.png and retake.json, whose presets
are to be looked at before they are put beside the model; ends with one line of JSON.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import get_args

from schemas.attention import PresetName
from schemas.errors import RetakeError
from workers.check.__main__ import settings_of
from workers.check.sweep import Edit, sweep_model
from workers.check.sweep_files import write_files
from workers.engine.dry_run import generation_of
from workers.models.pipelines import ModelLoadError, load_model


def read_edits(text: str) -> list[Edit]:
    """Raises ValueError, naming the line."""
    edits = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or parts[0] not in get_args(PresetName) or not all(parts):
            raise ValueError(f"line {number}: write `preset | source prompt | edit prompt`")
        edits.append(Edit(parts[0], parts[1], parts[2]))  # type: ignore[arg-type]  # checked
    if not edits:
        raise ValueError("there is no edit in it")
    return edits


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="retake models sweep", description=__doc__)
    parser.add_argument("model", help="a folder in diffusers' format, or a hub id")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--settings", default="{}", help="fields of the model's settings, as JSON")
    parser.add_argument("--steps", type=int, help="of stage two; left out: the model's default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smallest", action="store_true", help="the fewest pixels and frames")
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    warnings.simplefilter("ignore")
    try:
        edits = read_edits(asked.prompts.read_text("utf-8"))
        settings = settings_of(asked.model, asked.settings)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        model = load_model(settings)
        steps = asked.steps or model.card.num_inference_steps.default
        generation = generation_of(model, smallest=asked.smallest, steps=steps)
        generation = generation.model_copy(update={"seed": asked.seed})
        swept = sweep_model(model, edits, generation, steps, lambda line: print(line, flush=True))
    except (ModelLoadError, RetakeError) as error:
        print(f"not swept: {error}", file=sys.stderr)
        return 1
    write_files(swept, asked.out)
    presets = {
        name: preset.model_dump(exclude_none=True) for name, preset in swept.presets().items()
    }
    print(json.dumps({"out": str(asked.out), "settings": len(swept.rows), "presets": presets}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
