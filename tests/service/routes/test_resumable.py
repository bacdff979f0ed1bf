"""Uploads in pieces, by a real tus client and by the protocol's own requests."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from tusclient.client import TusClient

from service.settings import ServiceSettings
from storage.connect import open_objects
from storage.settings import StorageSettings
from tests.servers import Seaweed, free_ports
from tests.service.conftest import Api, Serve, make_key, running, wait_for
from tests.service.pictured import PNG
from tests.service.wire.test_bad_input import error_of
from tests.service.worker import film

PATH = "/uploads/resumable"
TUS = {"tus-resumable": "1.0.0"}
FILM = film(30)


def begin(api: Api, length: int, **headers: str) -> str:
    """Where its pieces go, as a path below /v1."""
    response = api.http.post(PATH, headers={**TUS, "upload-length": str(length), **headers})
    assert response.status_code == 201, response.text
    return response.headers["location"].removeprefix("/v1")


def send(api: Api, where: str, offset: int, data: bytes, **more: str) -> httpx.Response:
    headers = {
        **TUS, "upload-offset": str(offset), "content-type": "application/offset+octet-stream",
        **more,
    }  # fmt: skip
    return api.http.patch(where, content=data, headers=headers)


def offset_of(api: Api, where: str) -> int:
    return int(api.http.head(where, headers=TUS).headers["upload-offset"])


@pytest.fixture(params=["folder", "s3"])
def stores(request: pytest.FixtureRequest, own_storage: StorageSettings) -> StorageSettings:
    """Stores of one test's own, of each kind."""
    if request.param == "folder":
        return own_storage
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    where = {
        "object_url": f"{seaweed.object_url}/{own_storage.redis_prefix}",
        "s3_endpoint_url": seaweed.endpoint_url,
    }
    return own_storage.model_copy(update=where)


@pytest.fixture
def other_process(stores: StorageSettings) -> Iterator[tuple[str, Callable[[], None]]]:
    """An API in a process of its own: its address, and what kills it."""
    (port,) = free_ports(1)
    env = {
        **os.environ, "RETAKE_PORT": str(port), "RETAKE_REDIS_URL": stores.redis_url,
        "RETAKE_REDIS_PREFIX": stores.redis_prefix, "RETAKE_OBJECT_URL": stores.object_url,
        **({"RETAKE_S3_ENDPOINT_URL": stores.s3_endpoint_url} if stores.s3_endpoint_url else {}),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "service"], env=env)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    wait_for(answers, "the other process to answer", 30)
    yield url, kill
    kill()


def test_a_real_client_goes_on_through_another_process(
    stores: StorageSettings, other_process: tuple[str, Callable[[], None]]
) -> None:
    url, kill = other_process
    piece = len(FILM) // 4 + 1
    client = TusClient(f"{url}/v1{PATH}")
    first = client.uploader(
        file_stream=io.BytesIO(FILM), chunk_size=piece, metadata={"filename": "mine.mp4"}
    )
    for _ in range(2):
        first.upload_chunk()  # type: ignore[no-untyped-call]  # its own types end here
    assert first.url is not None
    kill()
    with running(ServiceSettings(storage=stores, port=0)) as api:
        where = first.url.replace(url, api.url)
        second = TusClient(f"{api.url}/v1{PATH}").uploader(
            file_stream=io.BytesIO(FILM), chunk_size=piece, url=where
        )
        assert second.offset == 2 * piece
        second.upload()
        ended = api.http.head(where, headers=TUS)
        assert ended.headers["upload-offset"] == ended.headers["upload-length"] == str(len(FILM))
        kept = api.http.get(f"/uploads/{ended.headers['retake-upload-id']}").json()
        assert (kept["filename"], kept["bytes"]) == ("mine.mp4", len(FILM))
        assert kept["film"]["seconds"] == pytest.approx(30 / 8)
    objects = open_objects(stores)
    assert objects.get(f"uploads/default/{kept['id']}") == FILM
    assert list(objects.list("resumable")) == []
    objects.close()


def test_what_arrived_before_the_connection_broke_is_kept(api: Api) -> None:
    where = begin(api, len(FILM))
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"PATCH /v1{where} HTTP/1.1\r\nhost: {host}\r\ntus-resumable: 1.0.0\r\n"
        "content-type: application/offset+octet-stream\r\nupload-offset: 0\r\n"
        f"content-length: {len(FILM)}\r\nexpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # it reads now
        connection.sendall(FILM[:700])
    wait_for(lambda: offset_of(api, where) == 700, "the piece to be kept")
    done = send(api, where, 700, FILM[700:])
    assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(FILM)))
    id = done.headers["retake-upload-id"]
    assert api.http.delete(where, headers=TUS).status_code == 204  # the upload stays
    assert api.http.head(where, headers=TUS).status_code == 404
    assert api.http.delete(f"/uploads/{id}").status_code == 200


def test_what_is_offered(api: Api) -> None:
    told = api.http.options(PATH)
    assert told.status_code == 204
    assert told.headers["tus-version"] == "1.0.0"
    assert told.headers["tus-extension"] == "creation,expiration,termination"
    assert told.headers["tus-max-size"] == str(api.settings.max_upload_bytes)


def test_refusals(api: Api) -> None:
    where, kind = begin(api, 1000), "application/offset+octet-stream"
    assert send(api, where, 0, bytes(400)).headers["upload-offset"] == "400"
    for status, headers, data in (
        (412, {"tus-resumable": "0.2.2"}, b"x"),
        (415, {"content-type": "video/mp4"}, b"x"),
        (409, {"upload-offset": "0"}, b"x"),
        (400, {"upload-offset": "-1"}, b"x"),
        (413, {}, bytes(601)),
    ):
        named = {**TUS, "content-type": kind, "upload-offset": "400", **headers}
        response = api.http.patch(where, content=data, headers=named)
        error_of(response, status)
        assert response.headers["tus-resumable"] == "1.0.0"
    assert offset_of(api, where) == 400
    for length in ("0", "none", str(api.settings.max_upload_bytes + 1)):
        refused = api.http.post(PATH, headers={**TUS, "upload-length": length})
        assert refused.status_code in (400, 413), refused.text
    assert error_of(api.http.post(PATH, headers=TUS), 400)["param"] == "Upload-Length"
    named = {**TUS, "upload-length": "9", "upload-metadata": "filename %%"}
    assert error_of(api.http.post(PATH, headers=named), 400)["param"] == "Upload-Metadata"
    assert api.http.delete(where, headers=TUS).status_code == 204
    assert error_of(send(api, where, 400, b"x"), 404)["param"] == "id"


def test_clients_that_can_only_post(api: Api) -> None:
    where, kind = begin(api, 1000), "application/offset+octet-stream"
    headers = {**TUS, "x-http-method-override": "PATCH", "content-type": kind, "upload-offset": "0"}
    assert api.http.post(where, content=b"abc", headers=headers).status_code == 204
    assert offset_of(api, where) == 3
    error_of(api.http.post(where, headers={**TUS, "x-http-method-override": "PUT"}), 400)
    headers = {**TUS, "x-http-method-override": "DELETE"}
    assert api.http.post(where, headers=headers).status_code == 204
    assert api.http.head(where, headers=TUS).status_code == 404


def test_a_whole_that_is_no_film_is_forgotten(api: Api) -> None:
    where = begin(api, 2000)
    assert send(api, where, 0, bytes(1999)).status_code == 204
    assert "not a video" in error_of(send(api, where, 1999, b"x"), 400)["message"]
    assert api.http.head(where, headers=TUS).status_code == 404
    assert list(api.state.objects.list("resumable")) == []


def test_a_projects_own_and_its_quota(serve: Serve, own_storage: StorageSettings) -> None:
    """What is announced counts from the beginning, and once."""
    keys = [make_key(own_storage, name) for name in ("mine", "other")]
    api = serve(auth="keys", max_stored_bytes=len(PNG) + 10, worker=False)
    mine, other = map(api.of, keys)
    where = begin(mine, len(PNG))
    assert other.http.head(where, headers=TUS).status_code == 404
    for more in ({"upload-length": "11"}, {"upload-length": str(len(PNG))}):
        full = mine.http.post(PATH, headers={**TUS, **more})
        assert error_of(full, 429)["code"] == "storage_quota_exceeded"
    assert send(mine, where, 0, PNG[:20]).status_code == 204
    assert send(mine, where, 20, PNG[20:]).status_code == 204
    again = begin(mine, 10)
    assert mine.http.post(PATH, headers={**TUS, "upload-length": "1"}).status_code == 429
    assert mine.http.delete(again, headers=TUS).status_code == 204
    begin(mine, 10)


def test_unfinished_ones_expire(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(upload_unfinished_s=1, sweep_s=0.05, worker=False)
    where = begin(api, 1000)
    told = send(api, where, 0, bytes(10))
    assert told.headers["upload-expires"].endswith("GMT")
    wait_for(lambda: api.http.head(where, headers=TUS).status_code == 404, "it to expire")
    wait_for(lambda: not list(api.state.objects.list("resumable")), "its piece to go")
