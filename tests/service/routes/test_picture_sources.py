"""Pictures by an upload's id, and by an address on a host that the operator allows."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.service.conftest import Api, running
from tests.service.pictured import OTHER, PNG, name_of, url
from tests.service.wire.test_bad_input import error_of
from tests.service.worker import film


class Pictures(ThreadingHTTPServer):
    """Another host: one picture, and answers that are none. ``asked``: the paths, as they come."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    server: Pictures

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/slow.png":
            self.server.closing.wait(30)
            return
        status = {"/moved.png": 302, "/none.png": 404}.get(self.path, 200)
        self.send_response(status)
        self.send_header("location", "/a.png")
        self.end_headers()
        if self.path == "/endless.png":
            while not self.server.closing.is_set():
                try:
                    self.wfile.write(bytes(1 << 16))
                except OSError:
                    return
        elif status == 200:
            self.wfile.write(PNG if self.path.startswith("/a.png") else b"no picture")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def host() -> Iterator[Pictures]:
    with Pictures() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fetching(picture_api: Api, picture_storage: StorageSettings) -> Iterator[Api]:
    """A server that fetches from loopback by address, and from ``localhost`` were it public."""
    settings = ServiceSettings(
        storage=picture_storage, port=0, default_model="either", max_picture_bytes=1 << 20,
        picture_hosts=("127.0.0.1", "localhost"), picture_timeout_s=2,
    )  # fmt: skip
    with running(settings) as api:
        yield api


def create(api: Api, **reference: Any) -> httpx.Response:
    body = {"prompt": "A car.", "model": "either", "seed": 7, "input_reference": reference}
    return api.http.post("/videos", json=body)


def upload(api: Api, data: bytes) -> httpx.Response:
    return api.http.post("/uploads", content=data, headers={"content-type": "image/png"})


def test_by_an_uploads_id(picture_api: Api) -> None:
    api = picture_api
    found = upload(api, PNG).json()
    assert found["picture"] == {"format": "png", "width": 96, "height": 64}
    assert found["film"] is None
    video = create(api, file_id=found["id"]).json()
    assert video["source_key"] == create(api, **url(PNG)).json()["source_key"]
    form = {
        "prompt": (None, "A car."), "model": (None, "either"),
        "input_reference[file_id]": (None, found["id"]),
    }  # fmt: skip
    by_form = api.http.post("/videos", files=form).json()
    assert by_form["input_reference"] == video["input_reference"]
    assert api.http.delete(f"/uploads/{found['id']}").status_code == 200
    error = error_of(create(api, file_id=found["id"]), 404)
    assert error["param"] == "input_reference.file_id"
    assert api.get(video["id"], wait=20)["status"] == "completed"  # it has its own copy


def ids_of(api: Api) -> set[str]:
    return {each["id"] for each in api.http.get("/uploads").json()["data"]}


def test_a_film_is_no_picture_and_a_picture_no_film(picture_api: Api) -> None:
    api = picture_api
    before = ids_of(api)
    picture, other = upload(api, PNG).json(), upload(api, film(6)).json()
    error = error_of(create(api, file_id=other["id"]), 400)
    assert (error["param"], "is a video" in error["message"]) == ("input_reference.file_id", True)
    body = {"prompt": "A van.", "source_prompt": "A car.", "model": "scenes"}
    error = error_of(
        api.http.post("/videos/edits", json={**body, "video": {"id": picture["id"]}}), 400
    )
    assert (error["param"], "is a picture" in error["message"]) == ("video.id", True)
    sent = api.http.post("/videos/edits", data=body, files={"video": ("a.mp4", OTHER)})
    assert "not a video" in error_of(sent, 400)["message"]
    assert error_of(upload(api, PNG[:60]), 400)["param"] == "file"
    large = PNG + bytes(1 << 20)
    assert "larger than the 1048576 bytes" in error_of(upload(api, large), 413)["message"]
    ids = ids_of(api) - before
    assert ids == {picture["id"], other["id"]}
    for id in ids:
        api.http.delete(f"/uploads/{id}")


def test_by_an_address_that_the_operator_allows(fetching: Api, host: Pictures) -> None:
    address = f"http://127.0.0.1:{host.server_port}/a.png"
    host.asked.clear()
    video = create(fetching, image_url=address).json()
    assert video["input_reference"]["sha256"] == name_of(PNG)
    edits = [{"prompt": f"A car {n}.", "input_reference": {"image_url": address}} for n in (1, 2)]
    assert fetching.get(video["id"], wait=20)["status"] == "completed"
    batch = fetching.http.post(f"/videos/{video['id']}/edits", json={"edits": edits})
    assert batch.status_code == 200, batch.text
    assert host.asked == ["/a.png", "/a.png"]  # once a request


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("moved.png", 400, "answers with status 302, and redirects are not followed"),
        ("none.png", 400, "answers with status 404"),
        ("endless.png", 413, "more bytes than the 1048576 allowed"),
        ("slow.png", 400, "takes longer than the 2 seconds"),
        ("text", 400, "allowed are PNG, JPEG and WebP"),
    ],
)
def test_answers_that_are_no_picture(
    fetching: Api, host: Pictures, path: str, status: int, says: str
) -> None:
    host.asked.clear()
    reference = f"http://127.0.0.1:{host.server_port}/{path}"
    assert says in error_of(create(fetching, image_url=reference), status)["message"]
    assert host.asked == [f"/{path}"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.2:{port}/a.png", "allowed is https:// only"),
        ("https://127.0.0.2:{port}/a.png", "allowed is a public host"),
        ("https://example.org/a.png", "host 'example.org' is not one that this server fetches"),
        ("http://2130706433:{port}/a.png", None),  # 127.0.0.1, which is allowed
        ("http://user@127.0.0.1:{port}/a.png", "without user or password"),
        ("file:///etc/passwd", "an https:// URL"),
    ],
)
def test_other_hosts_are_not_called(
    fetching: Api, host: Pictures, address: str, says: str | None
) -> None:
    host.asked.clear()
    response = create(fetching, image_url=address.format(port=host.server_port))
    if says is None:
        assert response.status_code == 200, response.text
        return
    assert says in error_of(response, 400)["message"]
    assert host.asked == []


def test_a_listed_name_may_not_lead_into_our_network(
    picture_storage: StorageSettings, picture_api: Api, host: Pictures
) -> None:
    settings = ServiceSettings(storage=picture_storage, port=0, picture_hosts=("localhost",))
    host.asked.clear()
    with running(settings) as api:
        response = create(api, image_url=f"http://localhost:{host.server_port}/a.png")
        assert "cannot be reached" in error_of(response, 400)["message"]
    assert host.asked == []


def test_a_request_fetches_few_addresses(fetching: Api, host: Pictures) -> None:
    source = fetching.finished(model="either")
    address = f"http://127.0.0.1:{host.server_port}/a.png"
    edits = [
        {"prompt": "A van.", "input_reference": {"image_url": f"{address}?{n}"}} for n in range(5)
    ]
    response = fetching.http.post(f"/videos/{source['id']}/edits", json={"edits": edits})
    assert error_of(response, 400)["param"].startswith("edits.")
