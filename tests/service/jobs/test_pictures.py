"""How long the picture of a video is kept, and for whom: as long as the video's own record."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.recipes import Picture, Recipe
from schemas.requests import Settings
from service.jobs.resolve import new_generation
from service.request.app_state import AppState
from storage.connect import open_objects
from storage.objects.objects import ObjectStore
from storage.retention.video_files import collect_videos
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key
from tests.service.pictured import PNG, name_of, on_stores, pictures_of, url
from tests.service.routes.test_attention import publish
from tests.service.wire.test_bad_input import error_of
from tests.service.worker import EITHER, FROM_IMAGE, Worker


@pytest.fixture
def api(picture_api: Api) -> Api:
    return picture_api


@pytest.fixture
def objects(picture_storage: StorageSettings) -> Iterator[ObjectStore]:
    store = open_objects(picture_storage)
    yield store
    store.close()


def test_refused_by_a_limit_nothing_stays(
    serve: Serve, own_storage: StorageSettings, objects: ObjectStore
) -> None:
    key = make_key(own_storage, "alice")
    worker = Worker(own_storage, EITHER)
    worker.start()
    try:
        api = serve(auth="keys", worker=False, max_open_jobs=1).of(key)
        api.create("[hold]", input_reference=url(PNG))
        refused = api.http.post("/videos", json={"prompt": "x", "input_reference": url(PNG)})
        assert error_of(refused, 429)["code"] == "too_many_jobs"
        assert len({info.key for info in open_objects(own_storage).list("videos/alice")}) == 1
    finally:
        worker.stop()


def test_its_bytes_count_until_the_video_is_deleted(
    api: Api, picture_storage: StorageSettings, objects: ObjectStore
) -> None:
    def stored() -> int:
        return on_stores(picture_storage, lambda state: state.limits.stored_bytes("default"))

    before = stored()
    video = api.create("[fail]", model="either", input_reference=url(PNG))
    api.get(video["id"], wait=20)
    (info,) = objects.list(f"videos/default/{video['id']}")
    assert stored() == before + info.size
    api.http.delete(f"/videos/{video['id']}")
    assert stored() == before
    assert list(objects.list(f"videos/default/{video['id']}")) == []


def test_the_collector_leaves_what_a_record_names(
    api: Api, picture_storage: StorageSettings, objects: ObjectStore
) -> None:
    """However old: of a job that waits, of one that failed, of a completed one."""
    root = Path(picture_storage.object_url.removeprefix("file://"))
    held = api.create("[hold]", model="either", input_reference=url(PNG))
    failed = api.finished("[fail]", model="either", input_reference=url(PNG))
    done = api.finished(model="either", input_reference=url(PNG))
    orphan = "videos/default/video_cccccccc/pictures/0.png"
    objects.put(orphan, PNG)
    for path in root.rglob("*.png"):
        os.utime(path, (0, 0))

    async def collect(state: AppState) -> int:
        return await collect_videos(state.objects, state.jobs, older_than_s=3600)

    assert on_stores(picture_storage, collect) == 1
    for video in (held, failed, done):
        assert pictures_of(objects, video["id"]) == {name_of(PNG)}
    assert orphan not in {info.key for info in objects.list("videos")}


def test_a_map_is_drawn_from_the_picture_of_a_video_that_used_the_artifact(
    api: Api, picture_storage: StorageSettings, objects: ObjectStore
) -> None:
    video = api.finished(model="wan-i2v", seed=1, input_reference=url(PNG))
    generation = new_generation(Settings(seed=1), "A car.", FROM_IMAGE)
    picture = Picture(sha256=name_of(PNG))
    recipe = Recipe(generation=generation.model_copy(update={"picture": picture}))
    assert recipe.key("default") == video["source_key"]
    artifact = publish(picture_storage, video["source_key"], video["id"], recipe=recipe)
    drawn = api.http.get(f"/attention/artifacts/{artifact}/map", params={"layer": 3})
    assert drawn.status_code == 200
    keys = [info.key for info in objects.list(f"maps/default/{artifact}")]
    assert any(key.endswith(f"/pictures/{name_of(PNG)}.png") for key in keys)
