"""A route whose endpoint is called with its few parameters directly.

FastAPI solves every parameter and dependency of a request anew, which takes as long as all else
that a status costs. What it says of the route in the OpenAPI document stays.
"""

from collections.abc import Awaitable, Callable, Coroutine
from inspect import signature
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from service.request.auth import Allowed

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """Where the endpoint asks for a ``call`` (``CallDep``), parameters of the path that are
    strings, and at most one model of the query; any other is left to FastAPI."""

    def get_route_handler(self) -> Handler:
        in_path = [field.name for field in self.dependant.path_params]
        queries = {field.name: field.field_info.annotation for field in self.dependant.query_params}
        asked = {"call", *in_path, *queries}
        dependencies = [each.call for each in self.dependant.dependencies]
        if (
            set(signature(self.endpoint).parameters) == asked
            and len(queries) <= 1
            and len(dependencies) == 1
            and isinstance(dependencies[0], Allowed)
        ):
            return _handler(self.endpoint, dependencies[0], in_path, queries)
        return super().get_route_handler()


def _handler(
    endpoint: Callable[..., Awaitable[Response]],
    allowed: Allowed,
    in_path: list[str],
    queries: dict[str, Any],
) -> Handler:
    unasked = {name: model() for name, model in queries.items()}

    async def handle(request: Request) -> Response:
        values: dict[str, Any] = {each: request.path_params[each] for each in in_path}
        # the key first: a stranger learns nothing of what is allowed
        values["call"] = await allowed(request)
        asked = unasked
        if request.scope["query_string"]:
            given = dict(request.query_params)
            asked = {name: _parse(model, given) for name, model in queries.items()}
        return await endpoint(**values, **asked)

    return handle


def _parse(model: type[BaseModel], given: dict[str, str]) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in found]
        ) from None
