"""An HTTP proxy in front of a real server that does to answers what networks and servers do."""

import http.client
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_HANG_S = 600.0


class Fault(NamedTuple):
    """What happens to the next request of ``method``.

    ``status``: answered with it, the server never sees the request. ``cut_at``: the server's
    answer ends after that many bytes of its body. ``flip_at``: the lowest bit of that byte of the
    body is flipped. ``lose_answer``: the server does as told, the connection ends without an
    answer. ``hang``: no answer comes.
    """

    method: str = "GET"
    status: int | None = None
    cut_at: int | None = None
    flip_at: int | None = None
    lose_answer: bool = False
    hang: bool = False


class FaultyProxy:
    """Forwards to ``endpoint_url`` on a port of its own, faults first in, first out."""

    def __init__(self, endpoint_url: str) -> None:
        upstream = urlsplit(endpoint_url).netloc
        self.faults: deque[Fault] = deque()
        self.away: frozenset[str] = frozenset()  # methods that are answered with 503
        self.seen: list[str] = []  # the methods of all requests, in order
        self._lock = threading.Lock()
        self._ended = threading.Event()
        proxy = self

        class Handler(_Handler):
            def handle_request(self) -> None:
                fault = proxy._take(self.command)
                if fault.hang:
                    proxy._ended.wait(_HANG_S)
                    self.close_connection = True
                    return
                self.forward(upstream, fault)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def add(self, fault: Fault, times: int = 1) -> None:
        self.faults.extend([fault] * times)

    def _take(self, method: str) -> Fault:
        with self._lock:
            self.seen.append(method)
            if method in self.away:
                return Fault(method, status=503)
            for fault in self.faults:
                if fault.method == method:
                    self.faults.remove(fault)
                    return fault
        return Fault(method)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_request(self) -> None:
        raise NotImplementedError

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = lambda self: self.handle_request()

    def log_message(self, format: str, *args: object) -> None:
        return None

    def forward(self, upstream: str, fault: Fault) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault.status is not None:
            self.send_response(fault.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection(upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        connection.request(self.command, self.path, sent, headers)
        answer = connection.getresponse()
        body = bytearray(answer.read())
        connection.close()
        if fault.lose_answer:
            self.close_connection = True
            return
        if fault.flip_at is not None:
            body[fault.flip_at] ^= 1
        self.send_response(answer.status)
        length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(body))
        for name, value in answer.headers.items():
            if name not in ("Content-Length", "Transfer-Encoding", "Connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault.cut_at is not None:
            body = body[: fault.cut_at]
            self.close_connection = True
        self.wfile.write(body)
