"""From a file that the OpenAI SDK sends to an mp4 of a real pipeline that started from it."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from service.settings import ServiceSettings
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import open_jobs
from storage.settings import StorageSettings
from tests import tiny
from tests.service.conftest import Api, running, storage_settings
from tests.service.wire.test_pictures import file_of
from workers.control.run_job import JobContext, run_job
from workers.engine.engine import PipelineEngine
from workers.media_settings import MediaSettings
from workers.model_settings import ModelSettings
from workers.settings import WorkerSettings


@pytest.fixture
def storage(valkey_url: str, tmp_path: Path) -> StorageSettings:
    return storage_settings(valkey_url, tmp_path / "objects", "e2e-pictures")


@pytest.fixture
def settings(storage: StorageSettings, tmp_path: Path) -> WorkerSettings:
    tiny.wan_i2v().save_pretrained(tmp_path / "model", safe_serialization=True)
    model = ModelSettings(
        id="tiny", path=str(tmp_path / "model"), dtype="float32", defaults=tiny.DEFAULTS
    )
    media = MediaSettings(crf=0)
    return WorkerSettings(storage=storage, models=(model,), threads=1, media=media)


@pytest.fixture
def api(storage: StorageSettings) -> Iterator[Api]:
    with running(ServiceSettings(storage=storage, port=0)) as api:
        yield api


async def work(settings: WorkerSettings, count: int) -> None:
    """Publish the model's card, then run ``count`` jobs as a worker does."""
    redis, objects = open_redis(settings.storage), open_objects(settings.storage)
    jobs = open_jobs(redis, prefix=settings.storage.redis_prefix)
    engine = PipelineEngine(settings, objects)
    try:
        await jobs.models.publish(engine.cards()[0], ttl_s=3600)
        context = JobContext("worker", jobs.claims, objects, engine, settings)
        for _ in range(count):
            (delivery,) = await jobs.queue.read("tests", 1, block_ms=5000)
            await run_job(context, delivery.video_id, lambda lease: None)
    finally:
        engine.close()
        await redis.aclose()
        objects.close()


def frames_of(api: Api, video: Any) -> np.ndarray[Any, Any]:
    mp4 = api.http.get(f"/videos/{video.id}/content", follow_redirects=True).content
    with av.open(io.BytesIO(mp4), "r") as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_the_picture_decides_the_video(api: Api, settings: WorkerSettings) -> None:
    asyncio.run(work(settings, 0))
    pictures = [file_of(tiny.painting(64, 48, seed)) for seed in (0, 1)]
    with api.sdk() as sdk:
        made = [
            sdk.videos.create(
                prompt="a car", input_reference=("a.png", picture), extra_body={"seed": 7}
            )
            for picture in (*pictures, pictures[0])
        ]
        asyncio.run(work(settings, 3))
        one, other, again = (sdk.videos.poll(video.id) for video in made)
        assert [video.status for video in (one, other, again)] == ["completed"] * 3
        edit = sdk.videos.remix(one.id, prompt="some dog")
        asyncio.run(work(settings, 1))
        edit = sdk.videos.poll(edit.id)
    assert edit.status == "completed"
    assert edit.attention == "stored"  # type: ignore[attr-defined]  # ours
    assert edit.input_reference == one.input_reference  # type: ignore[attr-defined]  # ours
    first, second, third = (frames_of(api, video) for video in (one, other, again))
    assert np.array_equal(first, third)
    assert np.abs(first.astype(int) - second).mean() > 5
