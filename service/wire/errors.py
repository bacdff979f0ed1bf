"""The only place where errors become the dialect's envelope."""

import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.base import Frozen
from schemas.errors import (
    InvalidRequest,
    JobFailed,
    NotFound,
    RateLimited,
    RetakeError,
    Unavailable,
)
from service.wire.validation import parameter_error
from storage.objects.objects import ObjectMissing, ObjectStoreError

ID_PATHS = {
    "video": re.compile(r"/v1/videos/([^/]+)(?:/(?:content|events|lineage|cancel|remix|edits))?"),
    "analysis": re.compile(r"/v1/attention/analyses/([^/]+)(?:/[a-z]+(?:/[^/]+)?)?"),
}


class ErrorDetail(Frozen):
    """``param``: dotted name of the field at fault. ``code``: stable, for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Frozen):
    error: ErrorDetail


STATUSES: Mapping[int, str] = {
    400: "A value is not allowed; the message names field, value and what is",
    401: "No valid API key",
    403: "The key's scopes do not cover this",
    404: "Not found in this project",
    405: "Method not allowed",
    408: "The body did not arrive in time",
    409: "What it is about is not in the state that this needs",
    412: "Another version of the protocol is needed",
    413: "The body is too large",
    415: "The body is neither JSON nor multipart",
    416: "No such range of bytes",
    422: "The Idempotency-Key was used with another body",
    429: "A limit of the project is reached; see Retry-After",
    500: "A fault of ours; quote the x-request-id",
    503: "Not ready; try again",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer these statuses beside its success."""
    return {status: {"model": ErrorBody, "description": STATUSES[status]} for status in statuses}


COMMON = documented(401, 403, 429, 500, 503)  # what any route under /v1 may answer


def error_response(error: RetakeError) -> Response:
    """The envelope of ``error`` with its status, and the headers that belong to it."""
    headers = dict(error.headers)
    if isinstance(error, RateLimited):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == 503:
        headers["retry-after"] = "1"
    elif error.status == 401:
        headers["www-authenticate"] = "Bearer"
    elif error.status == 409 or isinstance(error, JobFailed):
        # the SDK would retry twice, and get the same answer
        headers["x-should-retry"] = "false"
    return envelope(error.status, error.message, error.type, error.param, error.code, headers)


def envelope(
    status: int,
    message: str,
    kind: str,
    param: str | None,
    code: str | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))
    return Response(
        body.model_dump_json(), status, media_type="application/json", headers=dict(headers or {})
    )


async def _retake_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RetakeError)
    return error_response(error)


async def _bad_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(parameter_error(error.errors()))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        return error_response(_not_found(path))
    headers: dict[str, str] = {}
    if error.status_code == 405:
        headers["allow"] = ", ".join(request.app.state.methods.of(request.url.path))
        message = f"{request.method} is not allowed on {path!r}"
        code = "method_not_allowed"
    else:
        message, code = "the request is not valid HTTP for this API", "invalid_request"
    return envelope(error.status_code, message, InvalidRequest.type, None, code, headers)


def _not_found(path: str) -> NotFound:
    """Ids of another form than ours match no route: they are unknown ids all the same."""
    for kind, pattern in ID_PATHS.items():
        if match := pattern.fullmatch(path):
            return NotFound(f"no {kind} {match[1]!r}", param=f"{kind}_id")
    return NotFound(f"nothing is at {path!r}")


async def _redis(request: Request, error: Exception) -> Response:
    return error_response(Unavailable("the job store does not answer; try again shortly"))


async def _objects(request: Request, error: Exception) -> Response:
    return error_response(Unavailable("the object store does not answer; try again shortly"))


async def _object_missing(request: Request, error: Exception) -> Response:
    return error_response(NotFound("the content is no longer stored", code="content_expired"))


def install(app: FastAPI) -> None:
    """Map every error that a route may raise; any other becomes a 500 in the middleware."""
    app.add_exception_handler(RetakeError, _retake_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisError, _redis)
    app.add_exception_handler(ObjectStoreError, _objects)
    app.add_exception_handler(ObjectMissing, _object_missing)
