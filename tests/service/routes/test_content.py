"""Content as bytes: ranges, conditions, and what there is to say when there is none."""

from collections.abc import Iterator

import httpx
import pytest

from schemas.base import Frozen
from service.settings import ServiceSettings
from service.wire.content import RangeNotSatisfiable, _span
from storage.settings import StorageSettings
from tests.servers import Seaweed
from tests.service.conftest import Api, running, wait_for
from tests.service.worker import Worker


class Film(Frozen):
    path: str
    etag: str


@pytest.fixture(scope="module")
def film(api: Api) -> Film:
    path = f"/videos/{api.finished()['id']}/content"
    return Film(path=path, etag=api.http.get(path).headers["etag"])


def test_the_whole(api: Api, worker: Worker, film: Film) -> None:
    response = api.http.get(film.path)
    assert (response.status_code, response.content) == (200, worker.video)
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.content[4:8] == b"ftyp"
    head = api.http.head(film.path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(worker.video))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, None),
        ("bytes=-10", -10, None),
        ("bytes=5-99999999", 5, None),
    ],
)
def test_a_range(
    api: Api, worker: Worker, film: Film, asked: str, start: int, stop: int | None
) -> None:
    response = api.http.get(film.path, headers={"range": asked})
    assert (response.status_code, response.content) == (206, worker.video[start:stop])
    first = start % len(worker.video)
    last = first + len(response.content) - 1
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(worker.video)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=-", "bytes=9-1", "lines=1-2", "nonsense"]
)
def test_what_is_no_single_range_gets_the_whole(
    api: Api, worker: Worker, film: Film, asked: str
) -> None:
    response = api.http.get(film.path, headers={"range": asked})
    assert (response.status_code, response.content) == (200, worker.video)


def test_a_range_beyond_the_end(api: Api, film: Film) -> None:
    response = api.http.get(film.path, headers={"range": "bytes=99999999-"})
    assert (response.status_code, response.json()["error"]["code"]) == (
        416, "range_not_satisfiable",
    )  # fmt: skip
    size = len(api.http.get(film.path).content)
    assert response.headers["content-range"] == f"bytes */{size}"


def test_an_empty_object_has_no_range() -> None:
    with pytest.raises(RangeNotSatisfiable):
        _span("bytes=0-", 0)


def test_conditions(api: Api, film: Film) -> None:
    for tag in (film.etag, f'"x", W/{film.etag}', "*"):
        response = api.http.get(film.path, headers={"if-none-match": tag})
        assert (response.status_code, response.content) == (304, b"")
    fresh = api.http.get(film.path, headers={"if-none-match": '"other"'})
    assert fresh.status_code == 200
    ranged = {"range": "bytes=0-9"}
    assert api.http.get(film.path, headers={**ranged, "if-range": film.etag}).status_code == 206
    assert api.http.get(film.path, headers={**ranged, "if-range": '"other"'}).status_code == 200


def test_an_unknown_variant_is_refused(api: Api, film: Film) -> None:
    error = api.http.get(film.path, params={"variant": "gif"}).json()["error"]
    assert error["param"] == "variant"
    assert "'video', 'thumbnail' or 'spritesheet'" in error["message"]


@pytest.mark.parametrize("prompt", ["[hold]", "[fail]"])
def test_no_content_before_it_is_completed(api: Api, prompt: str) -> None:
    video_id = api.create(prompt)["id"]
    states = ("in_progress", "failed")
    wait_for(lambda: api.get(video_id)["status"] in states, "it to be worked on")
    response = api.http.get(f"/videos/{video_id}/content")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "video_not_ready")
    assert response.headers["x-should-retry"] == "false"
    api.http.delete(f"/videos/{video_id}")


def test_content_whose_object_is_gone(api: Api, storage: StorageSettings) -> None:
    from storage.connect import open_objects

    video_id = api.finished()["id"]
    open_objects(storage).delete_prefix(f"videos/default/{video_id}")
    response = api.http.get(f"/videos/{video_id}/content")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "content_expired")


@pytest.fixture
def on_s3(own_storage: StorageSettings, seaweed: Seaweed) -> Iterator[ServiceSettings]:
    storage = own_storage.model_copy(
        update={
            "object_url": f"{seaweed.object_url}/{own_storage.redis_prefix}",
            "s3_endpoint_url": seaweed.endpoint_url,
        }
    )
    worker = Worker(storage)
    worker.start()
    yield ServiceSettings(storage=storage, port=0)
    worker.stop()


def test_where_the_store_presigns_clients_are_sent_there(
    on_s3: ServiceSettings, worker: Worker
) -> None:
    with running(on_s3) as api:
        path = f"/videos/{api.finished()['id']}/content"
        response = api.http.get(path)
        assert response.status_code == 302
        target = response.headers["location"]
        found = httpx.get(target)
        assert (found.content, found.headers["content-type"]) == (worker.video, "video/mp4")
        head = api.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(worker.video))
        named = head.headers["content-disposition"]
        assert found.headers["content-disposition"] == named, "the same from either"
        assert httpx.get(target.replace("video.mp4", "thumbnail.webp")).status_code == 403
        with api.sdk() as sdk:
            assert sdk.videos.download_content(path.split("/")[2]).read() == worker.video


def test_bytes_from_s3_where_so_set(on_s3: ServiceSettings, worker: Worker) -> None:
    with running(on_s3.model_copy(update={"delivery": "bytes"})) as api:
        path = f"/videos/{api.finished()['id']}/content"
        response = api.http.get(path, headers={"range": "bytes=4-7"})
        assert (response.status_code, response.content) == (206, b"ftyp")
