"""The stores under test, each test in a corner of its own."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from storage.connect import open_redis
from storage.jobs.jobs import Jobs, open_jobs
from storage.objects.folder import FolderStore
from storage.objects.objects import ObjectStore
from storage.objects.s3 import S3Store
from storage.settings import StorageSettings
from tests.servers import Seaweed


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = open_redis(StorageSettings(redis_url=valkey_url, object_url="file:///unused"))
    yield client
    await client.aclose()


@pytest.fixture
def jobs(redis: Redis, prefix: str) -> Jobs:
    return open_jobs(redis, prefix=prefix)


@pytest.fixture
def s3_settings(seaweed: Seaweed, prefix: str) -> StorageSettings:
    return StorageSettings(
        redis_url="unix:///unused",
        object_url=f"{seaweed.object_url}/{prefix}",
        s3_endpoint_url=seaweed.endpoint_url,
    )


@pytest.fixture(scope="session")
def s3_store(seaweed: Seaweed) -> Iterator[ObjectStore]:
    # one for all tests: a boto3 client takes 0.2 s to build
    with contextlib.closing(
        S3Store(bucket=seaweed.bucket, prefix="contract", endpoint_url=seaweed.endpoint_url)
    ) as store:
        yield store


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Each kind of object store, empty."""
    if request.param == "folder":
        yield FolderStore(tmp_path / "objects")
        return
    store: ObjectStore = request.getfixturevalue("s3_store")
    yield store
    store.delete_prefix("")
    store.abort_unfinished(0)
