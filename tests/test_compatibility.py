"""What an earlier version wrote is read by this one: job records, the queue, artifacts, manifests.

The data is in tests/data, one folder for each commit that wrote some; its README says how it was
made. It must never be changed to fit the code.
"""

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from schemas.attention import TransferSpec
from schemas.jobs import Job, JobSpec, JobState
from schemas.recipes import Recipe
from schemas.videos import video_of
from service.settings import ServiceSettings
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import Jobs, open_jobs
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests import tiny
from tests.service.conftest import running
from workers.artifacts.store import ArtifactStore
from workers.control.run_job import JobContext, run_job
from workers.engine.engine import PipelineEngine
from workers.model_settings import ModelSettings
from workers.settings import WorkerSettings

DATA = Path(__file__).parent / "data" / "01ecea2"
API: dict[str, Any] = json.loads((DATA / "api.json").read_text("utf-8"))
FORMS = {entry["form"]: entry["id"] for entry in API["artifacts"]["data"]}


async def restore(redis: Redis, prefix: str) -> None:
    """Write every key of ``redis.json`` under ``prefix``."""
    records = json.loads((DATA / "redis.json").read_text("utf-8"))
    for name, record in records.items():
        key, value = f"{prefix}:{name}", record["value"]
        match record["type"]:
            case "string":
                await redis.set(key, value)
            case "hash":
                await redis.hset(key, mapping=value)
            case "set":
                await redis.sadd(key, *value)
            case "zset":
                await redis.zadd(key, value)
            case "stream":
                for entry_id, fields in value:
                    await redis.xadd(key, fields, id=entry_id)


@pytest.fixture
def storage(valkey_url: str, tmp_path: Path) -> StorageSettings:
    """Both stores as that version left them."""
    shutil.copytree(DATA / "objects", tmp_path / "objects")
    settings = StorageSettings(
        redis_url=valkey_url,
        object_url=(tmp_path / "objects").as_uri(),
        redis_prefix=f"test-{uuid.uuid4().hex[:12]}",
    )

    async def fill() -> None:
        redis = open_redis(settings)
        await restore(redis, settings.redis_prefix)
        await redis.aclose()

    asyncio.run(fill())
    return settings


@pytest.fixture
async def jobs(storage: StorageSettings) -> AsyncIterator[Jobs]:
    redis = open_redis(storage)
    yield open_jobs(redis, prefix=storage.redis_prefix)
    await redis.aclose()


@pytest.fixture
def objects(storage: StorageSettings) -> Iterator[ObjectStore]:
    store = open_objects(storage)
    yield store
    store.close()


@pytest.fixture
def engine(storage: StorageSettings, objects: ObjectStore) -> Iterator[PipelineEngine]:
    model = ModelSettings(
        id="tiny", path=str(DATA / "model"), dtype="float32", defaults=tiny.DEFAULTS
    )
    engine = PipelineEngine(WorkerSettings(storage=storage, models=(model,), threads=1), objects)
    yield engine
    engine.close()


def check_same(now: Any, before: Any) -> None:
    """Every value of ``before`` is there; fields that came later may stand beside."""
    if isinstance(before, dict):
        assert set(before) <= set(now)
        for name, value in before.items():
            check_same(now[name], value)
    elif isinstance(before, list):
        assert len(now) == len(before)
        for one, other in zip(now, before, strict=True):
            check_same(one, other)
    else:
        assert now == before


@pytest.mark.parametrize("name", API["ids"])
async def test_a_job_record_is_shown_as_it_was(jobs: Jobs, name: str) -> None:
    job = await jobs.store.get("default", API["ids"][name])
    check_same(video_of(job).model_dump(mode="json"), API["videos"][name])
    # what is stored under a key is still found by it
    assert job.spec.recipe.key("default") == job.spec.source_key
    if job.spec.recipe.source is not None:
        assert job.spec.recipe.source.key("default") == job.spec.edit_source_key


async def test_events_can_be_followed(jobs: Jobs) -> None:
    events = await jobs.events.read_all(API["ids"]["hidden"])
    assert [event.type for event in events] == ["queued", "started", *["progress"] * 3, "completed"]


def test_the_api_answers_the_same(storage: StorageSettings) -> None:
    with running(ServiceSettings(storage=storage, port=0, sweep_s=3600)) as api:
        check_same(api.http.get("/videos").json(), API["list"])
        for name, video_id in API["ids"].items():
            check_same(api.get(video_id), API["videos"][name])
        check_same(api.http.get("/attention/artifacts").json(), API["artifacts"])
        request = {"prompt": "a car", "seed": 7, "negative_prompt": "blurred"}
        again = api.http.post(
            "/videos",
            json={**request, "capture": {"form": "hidden", "codec": "zipnn"}},
            headers={"idempotency-key": "key-hidden"},
        )
        assert again.json()["id"] == API["ids"]["hidden"]


async def test_a_queued_job_is_delivered_and_run(
    storage: StorageSettings, jobs: Jobs, objects: ObjectStore, engine: PipelineEngine
) -> None:
    (delivery,) = await jobs.queue.read("dispatcher", 10)
    assert delivery.video_id == API["ids"]["queued"]
    settings = WorkerSettings(storage=storage, threads=1)
    context = JobContext("worker-b", jobs.claims, objects, engine, settings)
    await run_job(context, delivery.video_id, lambda lease: None)
    state = (await jobs.store.get("default", delivery.video_id)).state
    assert state.status == "completed"
    assert state.result is not None
    assert state.result.attention == "stored"
    assert objects.size(state.result.video_key) > 0
    assert await jobs.queue.ack(delivery)


def edit_of(source: Recipe, steps: int) -> Job:
    """An edit that takes the source's attention in the first ``steps`` steps."""
    recipe = Recipe(
        generation=source.generation.model_copy(update={"prompt": "a red car"}),
        source=source,
        transfer=TransferSpec(steps=tuple(range(steps))),
    )
    spec = JobSpec(
        id="video_0000000000000001",
        project="default",
        recipe=recipe,
        source_key=recipe.key("default"),
        edit_source_key=source.key("default"),
        created_at=1_700_000_000,
    )
    return Job(spec=spec, state=JobState())


@pytest.mark.parametrize("form", FORMS)
def test_an_edit_is_made_from_each_form(
    storage: StorageSettings, objects: ObjectStore, engine: PipelineEngine, form: str
) -> None:
    """As the source's replay would make it, to what the codec leaves of the attention."""
    manifest = ArtifactStore(objects, WorkerSettings(storage=storage).artifacts).named(
        "default", FORMS[form]
    )
    assert manifest is not None
    assert manifest.recipe.key("default") == manifest.source_key
    assert manifest.plan.key() == manifest.capture_key
    edit = edit_of(manifest.recipe, len(manifest.steps))
    for info in list(objects.list("manifests")):
        if info.key != manifest.key:
            objects.delete(info.key)
    stored = engine.render(edit, lambda step, total: None)
    objects.delete(manifest.key)
    replayed = engine.render(edit, lambda step, total: None)
    plain = engine.render(plain_of(edit), lambda step, total: None)
    assert (stored.attention, replayed.attention) == ("stored", "replayed")
    error, effect = (
        np.abs(other.frames.astype(int) - replayed.frames).mean() for other in (stored, plain)
    )
    assert effect > 1, "the transfer changes nothing: this comparison would always pass"
    assert error < 0.05 * effect


def plain_of(edit: Job) -> Job:
    recipe = Recipe(generation=edit.spec.recipe.generation)
    spec = edit.spec.model_copy(
        update={"recipe": recipe, "source_key": recipe.key("default"), "edit_source_key": None}
    )
    return Job(spec=spec, state=JobState())
