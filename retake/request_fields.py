"""From the words of the command line to the fields of a request. Raises typer.BadParameter."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import typer

from retake.client import Json

UPLOAD_ID = re.compile("upload_[0-9a-f]{40}")


def body_of(
    *,
    steps: int | None,
    lora: list[str] | None,
    capture: bool | None,
    capture_spec: str | None,
    image: str | None,
    image_fit: str | None,
    step_cache: str | None,
    **named: object,
) -> Json:
    """The request's fields: those that the command line says otherwise, and ``named`` as it is."""
    return drop_none(
        num_inference_steps=steps,
        loras=_loras(lora),
        capture=_capture(capture, capture_spec),
        input_reference=_picture(image),
        input_reference_fit=image_fit,
        step_cache=json_object("step-cache", step_cache),
        **named,
    )


def drop_none(**options: object) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def source_of(text: str | None, prompt: str | None, seed: int | None) -> Json | None:
    given = drop_none(prompt=prompt, seed=seed)
    if text is None and not given:
        return None
    named = (json_object("source", text) or {}) | given
    if not {"prompt", "seed"} <= named.keys():
        raise typer.BadParameter("a source needs its prompt and its seed")
    return named


def region_of(where: str | None, growth: int | None, softness: int | None) -> Json | None:
    """The region of --region, a mask's path, ``auto``, ``word:…`` or ``box:x,y,width,height``, with
    its edge."""
    edge = drop_none(growth=growth, softness=softness)
    if where is None:
        if edge:
            raise typer.BadParameter(f"--{next(iter(edge))} is of a region: give --region")
        return None
    if where == "auto":
        return {"auto": True, **edge}
    if where.startswith("word:"):
        return {"word": where.removeprefix("word:"), **edge}
    if where.startswith("box:"):
        return {"boxes": [_box(where)], **edge}
    path = Path(where)
    if not path.is_file():
        raise typer.BadParameter(
            f"--region {where!r} is no file, nor auto, word:…, box:x,y,width,height"
        )
    return {**_file(path, "region"), **edge}


def _box(where: str) -> Json:
    numbers = where.removeprefix("box:").split(",")
    try:
        return dict(zip(("x", "y", "width", "height"), map(int, numbers), strict=True))
    except ValueError:
        raise typer.BadParameter(
            f"--region {where!r} is not box:x,y,width,height in whole pixels of the video"
        ) from None


def _picture(image: str | None) -> Json | None:
    """An upload's id or an address as it is, a file as a data URL: what that is, the server sees
    from its bytes."""
    if image is None:
        return None
    if UPLOAD_ID.fullmatch(image):
        return {"file_id": image}
    if image.startswith(("http://", "https://")):
        return {"image_url": image}
    return _file(Path(image), "image")


def _file(path: Path, option: str) -> Json:
    """A file as a data URL."""
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise typer.BadParameter(f"--{option} {path}: {error.strerror}") from None
    return {"image_url": f"data:application/octet-stream;base64,{data}"}


def _loras(named: list[str] | None) -> list[tuple[str, float]] | None:
    if not named:
        return None
    pairs = []
    for each in named:
        name, _, weight = each.rpartition("=")
        try:
            pairs.append((name, float(weight)))
        except ValueError:
            raise typer.BadParameter(f"--lora {each!r} is not NAME=WEIGHT") from None
    return pairs


def _capture(wanted: bool | None, text: str | None) -> Any:
    if wanted is not None and text is not None:
        raise typer.BadParameter("give --capture, --no-capture or --capture-spec, not two of them")
    return wanted if text is None else _json("capture-spec", text)


def transfer_of(
    text: str | None,
    preset: str | None,
    interval: int | None,
    scale: float | None,
    anchor_region: str | None,
) -> Json | None:
    """The transfer spec of --transfer, with what the other options name put into it."""
    spec = json_object("transfer", text) or {}
    region = json_object("anchor-region", anchor_region)
    anchor = (spec.get("anchor") or {}) | drop_none(interval=interval, scale=scale, region=region)
    spec |= drop_none(preset=preset, anchor=anchor or None)
    return spec or None


def json_object(name: str, text: str | None) -> Json | None:
    """What option ``name`` was given, None if nothing."""
    if text is None:
        return None
    value = _json(name, text)
    if not isinstance(value, dict):
        raise typer.BadParameter(f"--{name} is not a JSON object")
    return value


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--{name} is not JSON: {error}") from None
