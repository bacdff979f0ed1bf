"""A job store, an object store and a worker's desk, each test in a corner of its own."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from schemas.jobs import Event, Job
from storage.connect import open_objects, open_redis
from storage.jobs import JobStore
from storage.objects import ObjectStore
from storage.settings import StorageSettings
from tests.workers.serving.scripted import ScriptedEngine
from workers.local import prepare_environment
from workers.run_job import Desk
from workers.settings import WorkerSettings

prepare_environment()  # before a test imports Ray
DEADLINE_S = 60.0


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        storage=StorageSettings(
            redis_url=valkey_url,
            object_url=f"file://{tmp_path / 'objects'}",
            redis_prefix=f"test-{uuid.uuid4().hex[:12]}",
        ),
        lease_s=2.0,
        threads=1,
        storage_patience_s=1.0,
    )


@pytest.fixture
async def jobs(settings: WorkerSettings) -> AsyncIterator[JobStore]:
    redis = open_redis(settings.storage)
    yield JobStore(redis, prefix=settings.storage.redis_prefix, max_attempts=settings.max_attempts)
    await redis.aclose()


@pytest.fixture
def objects(settings: WorkerSettings) -> Iterator[ObjectStore]:
    store = open_objects(settings.storage)
    yield store
    store.close()


@pytest.fixture
def desk(settings: WorkerSettings, jobs: JobStore, objects: ObjectStore) -> Desk:
    return Desk("worker-a", jobs, objects, ScriptedEngine(settings, objects), settings)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, within_s: float = DEADLINE_S
) -> None:
    """Wait for ``condition``; fails after a minute, or so many seconds."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.02)


async def ended(jobs: JobStore, video_id: str, within_s: float = DEADLINE_S) -> Job:
    """The job once it has ended."""

    async def done() -> bool:
        return (await jobs.get("tests", video_id)).state.status in ("completed", "failed")

    await until(done, f"{video_id} ends", within_s)
    return await jobs.get("tests", video_id)


async def stepped(jobs: JobStore, video_id: str) -> None:
    """Wait until the job has published a step."""

    async def begun() -> bool:
        return any(event.type == "progress" for event in await jobs.events(video_id))

    await until(begun, f"{video_id} makes a step")


async def events_of(jobs: JobStore, video_id: str) -> list[Event]:
    return await jobs.all_events(video_id)


def release(objects: ObjectStore, video_id: str) -> None:
    """Let a job go on that holds."""
    objects.put(f"release/{video_id}", b"")
