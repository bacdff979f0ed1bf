"""A body of thousands of mistakes is refused for one of them, and costs no more than a good one."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from schemas.base import OneError
from schemas.requests import BatchEdit, CreateVideo, EditVideo
from service.app import ROUTES
from service.request.bodies import BodyOf
from tests.service.conftest import Api
from tests.service.wire.test_bad_input import JSON, error_of

MANY = 20_000
INDICES = {"layers": ["x"] * MANY, "steps": ["x"] * MANY, "heads": [-1] * MANY}
BODIES: list[tuple[type[BaseModel], str, dict[str, Any]]] = [
    (CreateVideo, "/videos", {"prompt": "p", "capture": {"layers": [-1] * MANY}}),
    (CreateVideo, "/videos", {"prompt": "p", "loras": ["a"] * MANY}),
    (EditVideo, "/videos/edits", {"prompt": "p", "transfer": INDICES}),
    (BatchEdit, "/videos/video_00000000/edits", {"edits": [{}] * MANY}),
    (BatchEdit, "/videos/video_00000000/edits", {"edits": [{"transfer": INDICES}] * 2}),
    (
        BatchEdit,
        "/videos/video_00000000/edits",
        {"edits": [{f"unknown{n}": n for n in range(60)}] * 500},
    ),
]


@pytest.mark.parametrize(("model", "path", "body"), BODIES)
def test_one_mistake_is_told(
    api: Api, model: type[BaseModel], path: str, body: dict[str, Any]
) -> None:
    raw = json.dumps(body)
    error = error_of(api.http.post(path, content=raw, headers=JSON), 400)
    assert error["param"]
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(raw, strict=True)
    assert caught.value.error_count() <= 64


def test_an_object_of_very_many_fields(api: Api) -> None:
    for body in ({f"k{n}": n for n in range(MANY)}, {"prompt": {f"k{n}": n for n in range(MANY)}}):
        error = error_of(api.http.post("/videos", json=body), 400)
        assert "20000 fields; allowed are 64" in error["message"]


def collections(model: type[BaseModel], path: str) -> Iterator[tuple[str, bool]]:
    """Every collection that a body may hold, and whether it stops at its first bad item."""
    for name, field in model.model_fields.items():
        yield from _within(field.annotation, list(field.metadata), f"{path}.{name}")


def _within(annotation: Any, metadata: list[Any], path: str) -> Iterator[tuple[str, bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from collections(annotation, path)
    elif hasattr(annotation, "__metadata__"):
        yield from _within(annotation.__origin__, list(annotation.__metadata__), path)
    else:
        arguments = get_args(annotation)
        if get_origin(annotation) is tuple and arguments[-1] is Ellipsis:
            yield path, any(isinstance(each, OneError) for each in metadata)
        for argument in arguments:
            yield from _within(argument, [], path)


def test_every_collection_of_a_body_stops_at_its_first_bad_item() -> None:
    bodies = {
        dependency.call.model
        for route in ROUTES
        for dependency in getattr(getattr(route, "dependant", None), "dependencies", ())
        if isinstance(dependency.call, BodyOf)
    }
    found = [each for model in bodies for each in collections(model, model.__name__)]
    assert len(found) > 10
    assert [path for path, stops in found if not stops] == []
