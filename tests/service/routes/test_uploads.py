"""Uploads: how films get in, what is refused, and what becomes of them."""

import asyncio
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from storage.connect import open_objects, open_redis
from storage.retention.upload_files import collect_uploads
from storage.settings import StorageSettings
from storage.uploads import UploadStore
from tests.service.conftest import Api, Serve, make_key, wait_for
from tests.service.worker import CARD, film

MP4 = {"content-type": "video/mp4"}
CAR, RED = "A car is driving on the highway.", "A red car is driving on the highway."


def upload(api: Api, data: bytes) -> dict[str, Any]:
    response = api.http.post("/uploads", content=data, headers=MP4)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def edit(api: Api, id: str, **body: Any) -> httpx.Response:
    whole = {"prompt": RED, "source_prompt": CAR, "video": {"id": id}, **body}
    return api.http.post("/videos/edits", json=whole)


def stored(api: Api) -> list[str]:
    return [info.key for info in api.state.objects.list("uploads")]


@pytest.fixture
def kept(api: Api) -> Iterator[dict[str, Any]]:
    """An upload of 24 frames in 3 seconds."""
    found = upload(api, film(24))
    yield found
    api.http.delete(f"/uploads/{found['id']}")


def test_by_form_and_as_it_is_the_same_file_is_one_upload(api: Api, kept: dict[str, Any]) -> None:
    files = {"file": ("mine.mp4", film(24), "video/mp4")}
    again = api.http.post("/uploads", files=files, data={"purpose": "edit"}).json()
    assert again["id"] == kept["id"]
    assert again["created_at"] == kept["created_at"]
    assert stored(api).count(f"uploads/default/{kept['id']}") == 1
    assert kept["film"] == {
        "container": "mp4", "codec": "h264", "width": 96, "height": 64, "rotation": 0,
        "fps": 8.0, "seconds": 3.0, "audio": False,
    }  # fmt: skip
    assert kept["expires_at"] == pytest.approx(time.time() + 7 * 86400, abs=60)


def test_listed_shown_and_deleted(api: Api) -> None:
    one, two = upload(api, film(6)), upload(api, film(7))
    listed = api.http.get("/uploads", params={"limit": 1, "order": "desc"}).json()
    rest = api.http.get("/uploads", params={"after": listed["last_id"]}).json()
    ids = [each["id"] for each in (*listed["data"], *rest["data"])]
    assert {one["id"], two["id"]} <= set(ids)
    assert api.http.get(f"/uploads/{one['id']}").json() == one
    for each in (one, two):
        deleted = api.http.delete(f"/uploads/{each['id']}").json()
        assert deleted == {"id": each["id"], "deleted": True, "object": "upload.deleted"}
        assert api.http.get(f"/uploads/{each['id']}").status_code == 404
        assert f"uploads/default/{each['id']}" not in stored(api)
        assert edit(api, each["id"]).json()["error"]["param"] == "video.id"


def test_the_sdk_edits_a_file(api: Api) -> None:
    video = api.sdk().videos.edit(
        prompt=RED, video=("mine.mp4", io.BytesIO(film(24))), extra_body={"source_prompt": CAR}
    )
    assert video.prompt == RED
    assert video.model_extra is not None
    fitted = video.model_extra["film"]
    assert fitted["source_prompt"] == CAR
    assert fitted["taken"] == [0, 0, 96, 64]
    assert (fitted["from_s"], fitted["to_s"], fitted["repeated_frames"]) == (0, 2.125, 0)
    by_id = edit(api, fitted["upload_id"]).json()
    assert by_id["source_key"] == video.model_extra["source_key"]
    assert api.sdk().videos.poll(video.id).status == "completed"
    api.http.delete(f"/uploads/{fitted['upload_id']}")


def test_a_refused_edit_stores_no_file(api: Api) -> None:
    before = stored(api)
    for extra, param in (({}, None), ({"source_prompt": CAR, "size": "7x7"}, "size")):
        with pytest.raises(openai.BadRequestError) as caught:
            api.sdk().videos.edit(prompt=RED, video=("a.mp4", film(8)), extra_body=extra)
        if param is None:
            assert "source_prompt is required" in caught.value.message
            assert stored(api) == before
        else:
            assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"taken": [0, 0, 96, 64], "bars": [0, 0], "to_s": 2.125, "repeated_frames": 0}),
        ({"size": "64x64"}, {"taken": [16, 0, 64, 64], "bars": [0, 0]}),
        ({"size": "64x64", "fit": "pad"}, {"taken": [0, 0, 96, 64], "bars": [0, 10]}),
        ({"num_frames": 33}, {"repeated_frames": 9, "to_s": 3.0}),
        ({"start_s": 2.5, "num_frames": 5}, {"from_s": 2.5, "to_s": 3.0, "repeated_frames": 1}),
        ({"fps": 4}, {"to_s": 2.25}),  # 9 of the 12 frames that there are: the form is 4k+1
    ],
)
def test_how_a_film_is_made_to_fit_is_said(
    api: Api, kept: dict[str, Any], body: dict[str, Any], told: dict[str, Any]
) -> None:
    video = edit(api, kept["id"], **body).json()
    assert {name: video["film"][name] for name in told} == told


def test_an_upright_film_is_made_upright(api: Api) -> None:
    found = upload(api, film(8, width=64, height=96))
    assert edit(api, found["id"]).json()["size"] == "64x96"
    api.http.delete(f"/uploads/{found['id']}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"source_prompt": None}, "source_prompt is required with an uploaded video"),
        ({"start_s": 3.5}, "start_s: 3.5 is not in the video, which is 3 seconds long"),
        ({"transfer": {"anchor": None}}, "transfer.anchor: null is not allowed"),
        ({"transfer": {"preset": "paper"}}, "transfer.anchor: null is not allowed"),
        ({"num_frames": 8}, "num_frames: 8 is not allowed"),
    ],
)
def test_what_does_not_go_is_refused(
    api: Api, kept: dict[str, Any], body: dict[str, Any], words: str
) -> None:
    response = edit(api, kept["id"], **body)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_fields_of_films_are_refused_for_other_sources(api: Api) -> None:
    source = api.finished()
    response = edit(api, source["id"])
    assert response.status_code == 400
    assert "source_prompt is for uploaded videos only" in response.json()["error"]["message"]


WHOLE = film(8)
HOSTILE = {
    "empty": (b"", "the file is empty"),
    "text": (b"#EXTM3U\nfile:///etc/passwd\n", "not a video of a kind"),
    "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video of a kind"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "cannot be decoded"),
    "noise": (WHOLE[:40] + bytes(range(256)) * 20, "cannot be decoded"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_film_is_refused_and_not_kept(api: Api, kind: str) -> None:
    data, words = HOSTILE[kind]
    before = stored(api)
    for response in (
        api.http.post("/uploads", content=data, headers=MP4),
        api.http.post("/uploads", files={"file": ("mine.mp4", data)}),
    ):
        assert response.status_code == 400, response.text
        assert words in response.json()["error"]["message"]
    assert stored(api) == before


def test_bodies_that_are_refused(api: Api) -> None:
    for options, status, words in (
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "text/plain"),
        ({"data": {"purpose": "edit"}, "files": {"other": ("a", b"x")}}, 400, "no file is taken"),
        ({"files": {"file": ("a", WHOLE)}, "data": {"more": "x"}}, 400, "not a known field"),
        ({"files": [("file", ("a", WHOLE)), ("file", ("b", WHOLE))]}, 400, "more than one file"),
    ):
        response = api.http.post("/uploads", **options)
        assert response.status_code == status, response.text
        assert words in response.json()["error"]["message"]


def test_too_large(serve: Serve) -> None:
    api = serve(max_upload_bytes=2048)
    for options in ({"content": bytes(4096), "headers": MP4}, {"files": {"file": bytes(4096)}}):
        response = api.http.post("/uploads", **options)
        assert response.status_code == 413
        assert "2048" in response.json()["error"]["message"]
    assert stored(api) == []


def test_a_model_that_takes_no_films_says_which_do(api: Api, kept: dict[str, Any]) -> None:
    catalogue, other = api.state.catalogue, CARD.model_copy(
        update={"id": "mute", "supports_uploads": False}
    )  # fmt: skip
    catalogue._cards = {CARD.id: CARD, other.id: other}
    catalogue._fresh_until = time.monotonic() + 60
    try:
        response = edit(api, kept["id"], model="mute")
    finally:
        catalogue._fresh_until = 0.0
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", "video")
    assert error["message"].endswith("models that do: scenes")


def test_projects_scopes_and_the_quota(serve: Serve, own_storage: StorageSettings) -> None:
    keys = [make_key(own_storage, name) for name in ("mine", "other")]
    api = serve(auth="keys", max_stored_bytes=len(film(9)) + 100, worker=False)
    mine, other = map(api.of, keys)
    found = upload(mine, film(9))
    for method in ("GET", "DELETE"):
        assert other.http.request(method, f"/uploads/{found['id']}").status_code == 404
    reader = api.of(make_key(own_storage, "mine", "read"))
    assert reader.http.get(f"/uploads/{found['id']}").status_code == 200
    assert reader.http.delete(f"/uploads/{found['id']}").status_code == 403
    assert reader.http.post("/uploads", content=film(9), headers=MP4).status_code == 403
    full = mine.http.post("/uploads", content=film(10), headers=MP4)
    assert (full.status_code, full.json()["error"]["code"]) == (429, "storage_quota_exceeded")
    assert upload(mine, film(9))["id"] == found["id"]  # it takes no more room
    assert mine.http.delete(f"/uploads/{found['id']}").status_code == 200
    upload(mine, film(10))


def test_uploads_expire_with_the_attention_of_their_sources(
    serve: Serve, own_storage: StorageSettings
) -> None:
    api = serve(upload_retention_s=1, sweep_s=0.05)
    found = upload(api, film(10))
    wait_for(lambda: api.http.get(f"/uploads/{found['id']}").status_code == 404, "it to expire")
    assert list(open_objects(own_storage).list("uploads")) == []


def test_bytes_of_no_upload_are_collected_once_they_are_old(
    serve: Serve, own_storage: StorageSettings
) -> None:
    api = serve(worker=False)
    found = upload(api, film(11))
    objects, root = open_objects(own_storage), own_storage.object_url.removeprefix("file://")
    lost = "uploads/default/upload_" + "0" * 40
    objects.put(lost, b"no record")

    async def collect(older_than_s: float) -> int:
        redis = open_redis(own_storage)
        uploads = UploadStore(redis, prefix=own_storage.redis_prefix)
        count = await collect_uploads(objects, uploads, older_than_s)
        await redis.aclose()
        return count

    assert asyncio.run(collect(3600)) == 0
    for key in (lost, f"uploads/default/{found['id']}"):
        os.utime(Path(root) / key, (0, 0))
    assert asyncio.run(collect(3600)) == 1
    assert [info.key for info in objects.list("uploads")] == [f"uploads/default/{found['id']}"]
