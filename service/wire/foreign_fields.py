"""Fields that clients of other video servers send, in our own terms.

What they ask for is what a request does anyway (``n: 1``), or has another name here (``width`` and
``height``); anything else is refused, since a client must not believe that it was done.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from schemas.errors import InvalidRequest

Body = dict[str, Any]
MAX_USER_CHARS = 512
NESTED = ("extra_body", "extra_params")


def translate(data: Any, model: type[BaseModel]) -> Any:
    """``data`` in the fields of ``model``: itself, where it has none of these.

    Raises InvalidRequest where one of them asks for what is not done.
    """
    if not isinstance(data, dict) or FOREIGN.isdisjoint(data):
        return data
    body = _merge_nested(data)
    for name, check in CHECKS.items():
        if name in body and name not in model.model_fields:
            check(name, body.pop(name))
    if "size" in model.model_fields and not {"width", "height"}.isdisjoint(body):
        body["size"] = _size(body, body.pop("width", None), body.pop("height", None))
    return body


def _merge_nested(data: Body) -> Body:
    """The fields of ``extra_body`` and ``extra_params`` beside the others."""
    body = {name: value for name, value in data.items() if name not in NESTED}
    for outer in NESTED:
        inner = data.get(outer)
        if inner is None:
            continue
        if not isinstance(inner, dict):
            raise InvalidRequest(f"{outer}: it must be an object", param=outer)
        for name, value in inner.items():
            if name in body and body[name] != value:
                raise InvalidRequest(
                    f"{outer}.{name}: was also given beside {outer}, with another value",
                    param=f"{outer}.{name}",
                )
            body[name] = value
    return body


def _one(name: str, value: Any) -> None:
    if value not in (None, 1, "1") or value is True:
        raise InvalidRequest(
            f"{name}: {_shown(value)} is not allowed; allowed is 1: a request makes one video",
            param=name,
        )


def _among(*allowed: str, why: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value is not None and value not in allowed:
            raise InvalidRequest(
                f"{name}: {_shown(value)} is not allowed; allowed are {', '.join(allowed)}: {why}",
                param=name,
            )

    return check


def _user(name: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and len(value) <= MAX_USER_CHARS):
        raise InvalidRequest(
            f"{name}: it must be a string of at most {MAX_USER_CHARS} characters", param=name
        )


def _size(body: Body, width: Any, height: Any) -> Any:
    """``width`` and ``height`` as a size; raises InvalidRequest where they are not one, or differ
    from the ``size`` beside them."""
    for name, value in (("width", width), ("height", height)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole and not (isinstance(value, str) and value.isascii() and value.isdigit()):
            raise InvalidRequest(
                f"{name}: {_shown(value)} is not allowed; give width and height together, as "
                "whole numbers, or size",
                param=name,
            )
    size = f"{width}x{height}"
    if body.get("size") not in (None, size):
        raise InvalidRequest(
            f"size: {_shown(body['size'])} differs from width and height, {size}", param="size"
        )
    return size


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:80]


CHECKS: dict[str, Callable[[str, Any], None]] = {
    "n": _one,
    "num_outputs_per_prompt": _one,
    "response_format": _among(
        "url", "mp4", why="the video is an mp4 at /v1/videos/{id}/content once it is completed"
    ),
    "quality": _among("auto", "standard", why="more num_inference_steps may improve a video"),
    "user": _user,
}
FOREIGN = frozenset((*CHECKS, *NESTED, "width", "height"))
