"""Clients that mean harm: slow, endless, malformed. Each is refused, others are served meanwhile,
and memory stays where it was."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from storage.settings import StorageSettings
from tests.servers import free_ports
from tests.service.conftest import Api, Serve, wait_for

POST = b"POST /v1/videos HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


def connect(api: Api) -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and error of what the server says before it closes."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    error: dict[str, str] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error


def test_a_head_that_never_ends_in_time(serve: Serve) -> None:
    api = serve(header_timeout_s=0.3, worker=False)
    for start in (b"", b"GET /v1/videos HT", b"GET /v1/videos HTTP/1.1\r\nx: "):
        with connect(api) as connection:
            connection.sendall(start)
            assert answer(connection)[0] == 408


def test_a_head_that_never_ends(serve: Serve) -> None:
    api = serve(max_header_bytes=4096, worker=False)
    with connect(api) as connection:
        fields = b"".join(b"x-%d: %s\r\n" % (index, b"x" * 400) for index in range(11))
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.sendall(fields)
        status, error = answer(connection)
    assert (status, error["code"]) == (431, "header_too_large")


def test_a_body_that_does_not_come(serve: Serve) -> None:
    api = serve(body_timeout_s=0.3, worker=False)
    for head in (b"content-length: 100\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"):
        with connect(api) as connection:
            connection.sendall(POST + b"connection: close\r\n" + head)
            status, error = answer(connection)
        assert (status, error["code"]) == (408, "request_timeout")


def test_a_client_that_leaves_in_mid_body(api: Api) -> None:
    before = api.count()
    for _ in range(5):
        with connect(api) as connection:
            connection.sendall(POST + b'content-length: 100\r\n\r\n{"prompt": "A')
    assert api.http.get("/models").status_code == 200
    assert api.count() == before


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"nonsense\r\n\r\n",
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ],
)
def test_what_is_not_http(api: Api, raw: bytes) -> None:
    with connect(api) as connection:
        connection.sendall(raw)
        status, error = answer(connection)
    assert status == 400
    assert "Traceback" not in error["message"]


def test_a_compressed_body_is_not_unpacked(api: Api) -> None:
    import gzip

    bomb = gzip.compress(b"0" * 50_000_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = api.http.post("/videos", content=bomb, headers=headers)
    assert response.status_code == 400


def test_slow_clients_do_not_keep_others_out(serve: Serve) -> None:
    api = serve(header_timeout_s=5, worker=False)
    slow = [connect(api) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"GET /v1/videos HTTP/1.1\r\nx: ")
    assert api.http.get("/videos").status_code == 200
    for connection in slow:
        connection.close()


@pytest.fixture
def process(own_storage: StorageSettings, tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A server in a process of its own, so that its memory can be seen: (pid, url)."""
    (port,) = free_ports(1)
    env = {
        **os.environ,
        "RETAKE_REDIS_URL": own_storage.redis_url,
        "RETAKE_OBJECT_URL": own_storage.object_url,
        "RETAKE_REDIS_PREFIX": own_storage.redis_prefix,
        "RETAKE_PORT": str(port),
        "RETAKE_LOG_LEVEL": "warning",
    }
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "service"], env=env, stderr=log)
    try:
        wait_for(lambda: _up(url), "the server", seconds=30)
        yield server.pid, url
    finally:
        server.terminate()
        assert server.wait(30) == -signal.SIGTERM  # uvicorn stops cleanly, then by the signal


def _up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def memory(pid: int) -> int:
    """The most bytes that the process has had resident."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) << 10


def test_memory_is_bounded_whatever_is_sent(process: tuple[int, str]) -> None:
    pid, url = process
    json_type = {"content-type": "application/json"}
    httpx.post(f"{url}/v1/videos", json={"prompt": "x" * 900_000})  # what an allowed body takes
    before = memory(pid)

    def send(size: int, headers: dict[str, str]) -> int:
        chunks = (b"x" * 65536 for _ in range(size // 65536))
        return httpx.post(
            f"{url}/v1/videos", content=chunks, headers=headers, timeout=60
        ).status_code

    form = {"content-type": "multipart/form-data; boundary=b"}
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda kind=kind: statuses.append(send(48 << 20, kind)))
        for kind in (json_type, form, json_type, form)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [413] * 4  # 192 MB in all
    nested = b"[" * 500_000 + b"]" * 500_000
    assert httpx.post(f"{url}/v1/videos", content=nested, headers=json_type).status_code == 400
    assert memory(pid) - before < 32 << 20


def test_a_declared_size_beyond_reason_is_refused_at_once(process: tuple[int, str]) -> None:
    _, url = process
    host, port = url.removeprefix("http://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(POST + b"connection: close\r\ncontent-length: 99999999999\r\n\r\n")
        assert answer(connection)[0] == 413
    assert time.monotonic() - began < 15  # of 20 that a body may take
