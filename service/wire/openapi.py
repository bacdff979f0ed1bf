"""The OpenAPI document: what FastAPI knows of the routes, and the bodies that we parse."""

import copy
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route, compile_path

from schemas.requests import (
    BatchEdit,
    CreateAnalysis,
    CreateVideo,
    EditVideo,
    EstimateAttention,
    RemixVideo,
)
from schemas.webhooks import CreateEndpoint, RotateSecret, SendTest, UpdateEndpoint
from service.wire.examples import EXAMPLES
from service.wire.forms import PICTURE, REGION

REF = "#/components/schemas/{model}"
BODIES: tuple[type[BaseModel], ...] = (
    CreateVideo, EditVideo, RemixVideo, BatchEdit, EstimateAttention, CreateAnalysis,
    CreateEndpoint, UpdateEndpoint, RotateSecret, SendTest,
)  # fmt: skip
JSON = "application/json"


def accepts(
    model: type[BaseModel],
    examples: Mapping[str, Any],
    *,
    form: bool = True,
    required: bool = True,
) -> dict[str, Any]:
    """``openapi_extra`` of a route that takes ``model`` as JSON, and as a form too."""
    shown = {name: {"value": value} for name, value in examples.items()}
    schemas = {JSON: model.__name__}
    if form:
        schemas["multipart/form-data"] = _form_of(model)
    content = {
        kind: {"schema": {"$ref": REF.format(model=name)}, "examples": shown}
        for kind, name in schemas.items()
    }
    return {"requestBody": {"required": required, "content": content}}


def _form_of(model: type[BaseModel]) -> str:
    """The name of the schema of ``model`` as a form, where a picture is a file."""
    return f"{model.__name__}Form" if PICTURE in model.model_fields else model.__name__


def _with_forms(schemas: dict[str, Any]) -> dict[str, Any]:
    """``schemas`` and those of forms with files."""
    found = dict(schemas)
    for model in BODIES:
        if _form_of(model) != model.__name__:
            form = found[_form_of(model)] = copy.deepcopy(schemas[model.__name__])
            form["properties"][PICTURE] = {
                "type": "string",
                "format": "binary",
                "description": "A PNG, JPEG or WebP picture",
            }
            if REGION in form["properties"]:
                mask = {
                    "type": "string",
                    "format": "binary",
                    "description": "A mask: a PNG, JPEG or WebP picture, or a short video",
                }
                form["properties"][REGION]["anyOf"].insert(0, mask)
    return found


class Methods:
    """Which methods a path has, for the Allow header: Starlette names only one route's."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._patterns: list[tuple[re.Pattern[str], list[str]]] = []

    def of(self, path: str) -> list[str]:
        """Of the pattern with the fewest parameters: ``/videos/edits`` is not a video's path."""
        if not self._patterns:
            found: dict[str, set[str]] = {}
            for route in self._app.routes:
                if isinstance(route, Route):
                    found.setdefault(route.path, set()).update(route.methods or ())
            for template in sorted(found, key=lambda template: template.count("{")):
                self._patterns.append((compile_path(template)[0], sorted(found[template])))
        return next((found for pattern, found in self._patterns if pattern.match(path)), [])


def install(app: FastAPI) -> None:
    """Serve the whole document at ``/openapi.json``; it is built at the first request."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in BODIES], ref_template=REF
    )
    schemas: dict[str, Any] = found["components"]["schemas"]
    schemas.update(_with_forms(definitions["$defs"]))
    for path in found["paths"].values():
        for operation in path.values():
            _drop_fastapi_422(operation)
            for answer in operation["responses"].values():
                _add_example(answer)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    found["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"bearer": []}, {}]  # a server on loopback may ask for no key
    return found


def _add_example(answer: dict[str, Any]) -> None:
    content = answer.get("content", {}).get(JSON, {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name in EXAMPLES:
        content["example"] = EXAMPLES[name]


def _drop_fastapi_422(operation: dict[str, Any]) -> None:
    """Invalid parameters are answered with 400; FastAPI would document a 422 for them."""
    schema = operation["responses"].get("422", {}).get("content", {}).get(JSON, {}).get("schema")
    if schema == {"$ref": REF.format(model="HTTPValidationError")}:
        del operation["responses"]["422"]
