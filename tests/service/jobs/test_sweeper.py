"""Retention: what is past its time goes by itself, with all its objects; nothing else does."""

import asyncio
import os
import time
from functools import partial
from pathlib import Path

from service.app import open_state
from service.background.tracing import Tracing
from service.settings import ServiceSettings
from storage.connect import open_objects
from storage.retention.video_files import collect_videos
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, wait_for
from tests.service.routes.test_attention import objects_of, publish
from tests.storage.manifests import artifact, id_of, write


def is_gone(api: Api, video_id: str) -> bool:
    return api.http.get(f"/videos/{video_id}").status_code == 404


def test_videos_expire_with_all_their_objects(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(retention_s=1, sweep_s=0.05)
    video = api.finished()
    failed = api.finished("[fail]")
    for gone in (video, failed):
        wait_for(partial(is_gone, api, gone["id"]), "it to expire")
    assert list(open_objects(own_storage).list(f"videos/default/{video['id']}")) == []


def test_without_retention_nothing_expires(serve: Serve) -> None:
    api = serve(retention_s=0, sweep_s=0.05)
    assert api.finished()["expires_at"] is None


def test_objects_of_no_video_are_removed_once_they_are_old(
    serve: Serve, own_storage: StorageSettings
) -> None:
    api = serve(sweep_s=3600)
    video = api.finished()
    objects = open_objects(own_storage)
    kept, young, old = (
        f"videos/default/{video['id']}",
        "videos/default/video_aaaaaaaa",
        "videos/default/video_bbbbbbbb",
    )
    for folder in (young, old):
        objects.put(f"{folder}/1/video.mp4", b"left behind")
    root = Path(own_storage.object_url.removeprefix("file://"))
    for path in (root / kept).rglob("*"):
        os.utime(path, (0, 0))
    past = time.time() - 7200
    os.utime(root / old / "1" / "video.mp4", (past, past))

    async def sweep() -> int:
        state = open_state(ServiceSettings(storage=own_storage), Tracing(None))
        removed = await collect_videos(state.objects, state.jobs, older_than_s=3600)
        await state.redis.aclose()
        return removed

    assert asyncio.run(sweep()) == 1
    assert list(objects.list(old)) == []
    assert len(list(objects.list(young))) == 1
    assert len(list(objects.list(kept))) == 3


def test_attention_expires_too(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(sweep_s=0.05, worker=False)
    gone = publish(own_storage, "1" * 64, "video_00000000", expires_at=int(time.time()) - 1)
    kept = publish(own_storage, "2" * 64, "video_00000000", expires_at=int(time.time()) + 3600)
    path = "/attention/artifacts"
    wait_for(lambda: api.http.get(f"{path}/{gone}").status_code == 404, "it to expire")
    assert api.http.get(f"{path}/{kept}").status_code == 200
    wait_for(lambda: objects_of(own_storage, "1" * 64) == [], "its objects to go")
    assert len(objects_of(own_storage, "2" * 64)) == 2


def test_attention_that_redis_did_not_list_is_found(
    serve: Serve, own_storage: StorageSettings
) -> None:
    """It was published while Redis took no writes."""
    kept, gone = artifact("default", seed=1), artifact("default", seed=2, expires_at=1)
    for each in (kept, gone):
        write(open_objects(own_storage), each)
    api = serve(sweep_s=0.05, worker=False)
    path = f"/attention/artifacts/{id_of(kept)}"
    wait_for(lambda: api.http.get(path).status_code == 200, "it to be listed")
    wait_for(lambda: objects_of(own_storage, gone.source_key) == [], "the other to expire")
