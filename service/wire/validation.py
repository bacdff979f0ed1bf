"""From pydantic's errors to one sentence that names the field, the value and what is allowed."""

import json
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from schemas.errors import InvalidRequest

MAX_SHOWN = 80
HINTS = {
    "size": "allowed is WIDTHxHEIGHT, such as 832x480",
    "seconds": 'allowed is a decimal number as a string, such as "4"',
    "id": "allowed is the id of a video, as in video_0199c0ffee, or of an upload where one may be "
    "the source",
    "file_id": "allowed is the id of an upload, which POST /v1/uploads gives",
}

# by pydantic's error types, with its context's values
RULES = {
    "too_long": "it may have at most {max_length} item(s)",
    "too_short": "it must have at least {min_length} item(s)",
    "none_required": "it must be null",
    "int_from_float": "it must be a whole number",
    "finite_number": "it must be a finite number",
    "model_attributes_type": "it must be an object",
    "literal_error": "it must be {expected}",
}
# by the first part of types such as int_type and int_parsing
KINDS = {
    "int": "it must be a whole number",
    "float": "it must be a number",
    "bool": "it must be true or false",
    "string": "it must be a string",
    "tuple": "it must be a list",
    "list": "it must be a list",
    "dict": "it must be an object",
    "model": "it must be an object",
}

Path = tuple[str | int, ...]


def invalid(model: type[BaseModel], errors: Sequence[ErrorDetails], data: Any) -> InvalidRequest:
    """The one error to show for ``data`` refused by ``model``.

    A value that fits no member of a union has one error per member. The deepest field is taken for
    the one that was meant; of several errors at one field, those about its type say least.
    """
    located = [(_path(error, data), error) for error in errors]
    depth = max(len(path) for path, _ in located)
    path = next(path for path, _ in located if len(path) == depth)
    here = [error for other, error in located if other == path]
    here = [error for error in here if not error["type"].endswith("_type")] or here
    reasons = list(dict.fromkeys(_reason(model, path, error) for error in here))
    field, colon, rest = reasons[0].partition(": ")
    if colon and len(reasons) == 1 and field in _fields_at(model, path):
        path, reasons = (*path, field), [rest]  # a check of the whole that names the one at fault
    param = ".".join(map(str, path)) or None
    return InvalidRequest(
        f"{param or 'the body'}: {_describe_value(here[0])}{' or '.join(reasons)}", param=param
    )


def _path(error: ErrorDetails, data: Any) -> Path:
    """The error's path in ``data``: its loc without the union members that pydantic adds."""
    path: list[str | int] = []
    last = len(error["loc"]) - 1
    for index, key in enumerate(error["loc"]):
        missing = index == last and error["type"] == "missing"
        if isinstance(data, dict) and (key in data or missing):
            data = data.get(key)
        elif isinstance(data, list | tuple) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            continue
        path.append(key)
    return tuple(path)


def _describe_value(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden", "value_error", "json_invalid"):
        return ""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{len(value)} characters: "
    if isinstance(value, dict | list | tuple):
        return f"{'an object' if isinstance(value, dict) else 'a list'} is not allowed: "
    return f"{_as_json(value)} is not allowed: "


def _as_json(value: Any) -> str:
    """A value as its sender wrote it, ``null`` and ``true`` rather than Python's words."""
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


def _reason(model: type[BaseModel], path: Path, error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(model, path[:-1])
        return "is not a known field" + (f"; allowed are {', '.join(allowed)}" if allowed else "")
    if error["type"] == "string_pattern_mismatch" and path and path[-1] in HINTS:
        return HINTS[str(path[-1])]
    return _rule(error)


def _rule(error: ErrorDetails) -> str:
    """What is allowed: pydantic's message, but where it speaks of Python."""
    kind, context = error["type"], error.get("ctx", {})
    template = RULES.get(kind) or KINDS.get(kind.rpartition("_")[0])
    if template is not None:
        return template.format(**context)
    text = error["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The field names allowed at ``path``; empty if there is no model there."""
    for key in path:
        if isinstance(key, int):
            continue  # items of a list: their model was found with the list
        field = model.model_fields.get(key)
        inner = next(_models(field.annotation), None) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _models(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def parameter_error(errors: Sequence[Any]) -> InvalidRequest:
    """The first of FastAPI's errors about query or header parameters."""
    error = errors[0]
    param = ".".join(str(key) for key in error["loc"][1:]) or None
    if error["type"] == "extra_forbidden":
        return InvalidRequest(f"{param}: is not a known query parameter", param=param)
    shown = _as_json(error["input"])[:MAX_SHOWN]
    return InvalidRequest(f"{param}: {shown} is not allowed: {_rule(error)}", param=param)
