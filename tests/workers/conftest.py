"""One tiny Wan for all, and a job store, an object store and a worker's context for each test."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from storage.connect import open_objects, open_redis
from storage.jobs.jobs import Jobs, open_jobs
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests import tiny
from tests.workers.bench import Bench
from tests.workers.scripted import ScriptedEngine
from workers.control.run_job import JobContext
from workers.local import prepare_environment
from workers.models.pipelines import LoadedModel
from workers.settings import WorkerSettings

prepare_environment()  # before a test imports Ray


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
async def jobs(settings: WorkerSettings) -> AsyncIterator[Jobs]:
    redis = open_redis(settings.storage)
    yield open_jobs(redis, prefix=settings.storage.redis_prefix, max_attempts=settings.max_attempts)
    await redis.aclose()


@pytest.fixture
def objects(settings: WorkerSettings) -> Iterator[ObjectStore]:
    store = open_objects(settings.storage)
    yield store
    store.close()


@pytest.fixture
def context(settings: WorkerSettings, jobs: Jobs, objects: ObjectStore) -> JobContext:
    return JobContext("worker-a", jobs.claims, objects, ScriptedEngine(settings, objects), settings)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny.load(tiny.wan(), tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="session")
def model_bf16(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny.load(tiny.wan(), tmp_path_factory.mktemp("wan"), dtype="bfloat16")


@pytest.fixture
def bench(model: LoadedModel) -> Bench:
    return Bench(model)


@pytest.fixture
def bench_bf16(model_bf16: LoadedModel) -> Bench:
    return Bench(model_bf16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
