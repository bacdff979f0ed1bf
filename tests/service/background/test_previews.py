"""``preview_every``: taken where the model can show its latents, else refused on every route."""

import asyncio
from collections.abc import Iterator

import pytest

from storage.connect import open_redis
from storage.jobs.jobs import open_jobs
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve
from tests.service.worker import CARD, Worker

BLIND = CARD.model_copy(update={"supports_preview": False})


@pytest.fixture
def blind(serve: Serve, own_storage: StorageSettings) -> Iterator[Api]:
    """A server whose only model makes no previews."""
    worker = Worker(own_storage, BLIND)
    worker.start()
    yield serve(worker=False)
    worker.stop()


def test_a_model_says_whether_it_makes_previews(api: Api, blind: Api) -> None:
    shown = [each.http.get("/models/scenes").json()["supports_preview"] for each in (api, blind)]
    assert shown == [True, False]


def test_what_is_asked_for_reaches_the_worker(idle: Api) -> None:
    video_id = idle.create(preview_every=3)["id"]

    async def stored() -> int | None:
        redis = open_redis(idle.settings.storage)
        jobs = open_jobs(redis, prefix=idle.settings.storage.redis_prefix)
        spec = (await jobs.store.get("default", video_id)).spec
        await redis.aclose()
        return spec.preview_every

    assert asyncio.run(stored()) == 3


def test_every_route_refuses_what_the_model_cannot(blind: Api) -> None:
    source = blind.finished(seed=7)["id"]
    edit = {"prompt": "A red car.", "preview_every": 2}
    for path, body in (
        ("/videos", edit),
        (f"/videos/{source}/remix", edit),
        ("/videos/edits", {**edit, "video": {"id": source}}),
        ("/videos/edits", {**edit, "source": {"prompt": "A car.", "seed": 7}}),
        (f"/videos/{source}/edits", {"edits": [edit]}),
        (f"/videos/{source}/edits", {"preview_every": 2, "edits": [{"prompt": "A red car."}]}),
    ):
        response = blind.http.post(path, json=body)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "unsupported"), path
        own = body.get("edits") == [edit]
        param = "edits.0.preview_every" if own else "preview_every"
        assert error["param"] == param
        assert error["message"].startswith(f"{param}: 2 is not allowed: model 'scenes'")
    assert blind.count() == 1
