"""docs/settings.md: every setting with its type, default and meaning, read from the classes."""

import argparse
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.settings import ServiceSettings
from storage.films.reader import FilmLimits
from storage.settings import StorageSettings
from workers.artifacts.settings import ArtifactSettings
from workers.media_settings import MediaSettings
from workers.model_settings import CardDefaults, LoraSettings, ModelSettings
from workers.settings import WorkerSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """# Settings

Written by `scripts/settings_table` from the settings classes; a test keeps it current.

A setting is an environment variable, read once when the process starts. A value that is not
allowed ends the process with a message that names the setting, the value and what is allowed.
Names end in their unit: `_s` is seconds, `_bytes` is bytes. Lists and objects are written as JSON:

    RETAKE_WEBHOOK_ALLOW='["10.0.0.0/8"]'
    RETAKE_ARTIFACTS='{"device_cache_bytes": 8589934592}'
    RETAKE_MODELS='[{"id": "wan", "path": "/models/wan2.1-1.3b"}]'
"""
COMMAND_LINE = """
## The `retake` command

`RETAKE_URL` is the server's address (`--url`), `RETAKE_API_KEY` a bearer key (`--api-key`).
`retake keys` and `retake jobs` speak to Redis itself: at `RETAKE_REDIS_URL` (`--redis-url`), or
to the embedded one of `--data`, which need not run. `retake serve` takes `RETAKE_REDIS_URL` and
`RETAKE_OBJECT_URL` in place of its own stores.
"""
# heading, what it is about, class, what stands before the name of a field
SECTIONS: tuple[tuple[str, str, type[BaseModel], str], ...] = (
    ("Storage", "Read by the API and by the workers.", StorageSettings, "RETAKE_"),
    ("API", "Read by `python -m service`. A limit of 0 is no limit.", ServiceSettings, "RETAKE_"),
    ("Workers", "Read by `python -m workers` and on a Ray cluster.", WorkerSettings, "RETAKE_"),
    ("Models", "Fields of each object in `RETAKE_MODELS`.", ModelSettings, ""),
    ("A model's defaults", "Fields of `defaults`, and of `retake.json`.", CardDefaults, ""),
    ("A model's LoRAs", "Fields of each object in `loras`.", LoraSettings, ""),
    ("Stored attention", "Fields of `RETAKE_ARTIFACTS`, for each process.", ArtifactSettings, ""),
    ("Video files", "Fields of `RETAKE_MEDIA`.", MediaSettings, ""),
    ("Uploaded videos", "Fields of `RETAKE_FILMS`, for each file.", FilmLimits, ""),
)
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
UNITS = {
    "_bytes": {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10},
    "_s": {"d": 86400, "h": 3600},
}


def page() -> str:
    return HEAD + "".join(section(*each) for each in SECTIONS) + COMMAND_LINE


def section(title: str, about: str, settings: type[BaseModel], prefix: str) -> str:
    text = f"\n## {title}\n\n{about}\n\n| name | type | default | meaning |\n|---|---|---|---|\n"
    for name, info in settings.model_fields.items():
        if info.annotation is StorageSettings:  # its variables have a section of their own
            continue
        shown = prefix + (name.upper() if prefix else name)
        cells = (f"`{shown}`", type_of(info), default(name, info), info.description or "")
        text += "| " + " | ".join(cells) + " |\n"
    return text


def type_of(info: FieldInfo) -> str:
    """A field's type and bounds in words."""
    return " or ".join(
        kind + bounds([*info.metadata, *metadata]) for kind, metadata in kinds(info.annotation)
    )


def kinds(annotation: Any) -> Iterator[tuple[str, list[Any]]]:
    """Each type that ``annotation`` allows, None left out, with its own constraints."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for kind, metadata in kinds(arguments[0]):
            yield kind, [*metadata, *arguments[1:]]
    elif origin in (Union, types.UnionType):
        for each in arguments:
            yield from kinds(each)
    elif origin is Literal:
        yield ", ".join(f"`{value}`" for value in arguments), []
    elif origin is tuple:
        inner = "object" if is_model(arguments[0]) else TYPES[arguments[0]]
        yield f"list of {inner}s", []
    elif origin is dict or is_model(annotation):
        yield "object", []
    elif annotation is not types.NoneType:
        yield TYPES[annotation], []


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def bounds(metadata: list[Any]) -> str:
    """The limits of a number in words."""
    # a constraint lies bare, or in the FieldInfo of an Annotated alias
    flat = [one for each in metadata for one in getattr(each, "metadata", [each])]
    words = [f"above {each.gt}" for each in flat if isinstance(each, Gt)]
    words += [f"at least {each.ge}" for each in flat if isinstance(each, Ge)]
    words += [f"at most {each.le}" for each in flat if isinstance(each, Le)]
    return "".join(f", {each}" for each in words)


def default(name: str, info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "unset"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
        return "the bundled model"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" + in_larger_units(name, value)


def in_larger_units(name: str, value: Any) -> str:
    """``2 << 30`` bytes are also `` (2 GiB)``; nothing where no larger unit fits."""
    if not value or not isinstance(value, int):
        return ""
    units = next((units for ending, units in UNITS.items() if name.endswith(ending)), {})
    return next(
        (f" ({value // size} {unit})" for unit, size in units.items() if not value % size), ""
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        print(f"{PAGE.name} is not current: run scripts/settings_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
