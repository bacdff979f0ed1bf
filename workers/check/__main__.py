"""Check a model on this machine: `python -m workers.check MODEL`, or `retake models check MODEL`.

Prints what it finds, ends with one line of JSON, and exits 1 if anything is wrong.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

from pydantic import ValidationError

from workers.check.checks import Asked, check_model
from workers.model_settings import ModelSettings


def settings_of(model: str, more: str) -> ModelSettings:
    """Of a folder or a hub id, with the JSON fields ``more``. Raises ValueError."""
    values = {"id": Path(model).resolve().name if Path(model).exists() else model.split("/")[-1]}
    return ModelSettings.model_validate({**values, "path": model, **json.loads(more)})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="retake models check", description=__doc__)
    parser.add_argument("model", help="a folder in diffusers' format, or a hub id")
    parser.add_argument("--settings", default="{}", help="fields of the model's settings, as JSON")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--smallest", action="store_true", help="the fewest pixels and frames")
    parser.add_argument("--prompt", default=Asked.prompt)
    parser.add_argument("--edit-prompt", default=Asked.edit_prompt)
    asked = parser.parse_args(argv)
    try:
        settings = settings_of(asked.model, asked.settings)
    except (ValueError, ValidationError) as error:
        parser.error(f"--settings: {error}")
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    warnings.simplefilter("ignore")
    found = check_model(
        settings, Asked(asked.prompt, asked.edit_prompt, asked.steps, asked.smallest), _say
    )
    for title, lines in (("odd", found.odd), ("WRONG", found.wrong)):
        for line in lines:
            _say(f"{title}: {line}")
    ok = not found.wrong
    print(json.dumps({"ok": ok, **found.facts, "odd": found.odd, "wrong": found.wrong}))
    return 0 if ok else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
