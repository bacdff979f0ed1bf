"""Uvicorn as this API needs it: HTTP heads within time and size, JSON logs, a clean stop."""

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.app import create_app
from service.settings import ServiceSettings
from service.wire.errors import ErrorBody, ErrorDetail

# How long a stop waits for downloads in flight; long polls and event streams are ended at once
GRACEFUL_STOP_S = 30


def uvicorn_config(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    """Uvicorn's settings; logging is set up by the entry point."""

    class Protocol(LimitedHeadProtocol):
        header_timeout_s = settings.header_timeout_s
        max_header_bytes = settings.max_header_bytes

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACEFUL_STOP_S,
    )


class LimitedHeadProtocol(HttpToolsProtocol):
    """Ends connections whose request head is too slow or too long; uvicorn would wait for ever.

    It counts the bytes that arrive while no head is complete. Its answers are in the API's
    envelope.
    """

    header_timeout_s: float
    max_header_bytes: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > self.max_header_bytes:
            self._refuse(431, "the request's head is too long", "header_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "the request is not valid HTTP", "invalid_request")

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(
                self.header_timeout_s,
                self._refuse,
                408,
                f"the request's head did not arrive within {self.header_timeout_s:g} seconds",
                "request_timeout",
            )

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, message: str, code: str) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        detail = ErrorDetail(message=message, type="invalid_request_error", param=None, code=code)
        body = ErrorBody(error=detail).model_dump_json().encode()
        head = (
            f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Tells event streams and long polls to end before it waits for requests in flight."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.app = create_app(settings)
        super().__init__(uvicorn_config(self.app, settings))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.app.state.retake.streams.close()
        await super().shutdown(sockets)


def serve(settings: ServiceSettings) -> None:
    """Run until SIGINT or SIGTERM."""
    Server(settings).run()
