"""The outermost layer of every request: its id, its log line, and a 500 for unforeseen errors."""

import logging
import re
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.background.tracing import Tracing
from service.request.app_state import AppState
from service.wire.errors import envelope

log = logging.getLogger("retake.service")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """ASGI middleware. An unforeseen error becomes a 500 in the envelope, with the request's id."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app, self.tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["state"]["request_id"] = request_id
        started_at, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                for name, value in scope["state"].get("headers", {}).items():
                    headers[name] = value
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:  # nothing of an unforeseen error may reach the client
            log.exception("request failed", extra={"request_id": request_id})
            if status:
                raise  # the answer has begun: only breaking it off tells the client
            response = envelope(
                500,
                f"a fault of ours; quote request {request_id}",
                "server_error",
                None,
                "internal_error",
            )
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started_at)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        state: AppState | None = getattr(scope["app"].state, "retake", None)
        if state is not None:
            state.metrics.request(_method(scope), _route(scope), status, seconds)
        if log.isEnabledFor(logging.INFO):
            extra = {"request_id": request_id, "status": status, "seconds": round(seconds, 6)}
            if trace_id := self.tracing.trace_id():
                extra["trace_id"] = trace_id
            log.info("%s %s", scope["method"], scope["path"], extra=extra)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"


def _route(scope: Scope) -> str:
    """The route's pattern, so that the metric has no more values than there are routes."""
    route = scope.get("route")
    return getattr(route, "path_format", "unmatched")


def _request_id(scope: Scope) -> str:
    """The client's ``x-request-id`` if it is plain, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return f"req_{uuid.uuid4().hex}"
