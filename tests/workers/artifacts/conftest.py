"""Stores of artifacts over real object stores."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.connect import open_objects
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.servers import Seaweed
from tests.workers.artifacts.captures import SMALL
from workers.artifacts.store import ArtifactStore


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    """A folder, empty."""
    url = (tmp_path / "objects").as_uri()
    store = open_objects(StorageSettings(redis_url="unix:///unused", object_url=url))
    yield store
    store.close()


@pytest.fixture
def open_s3(seaweed: Seaweed) -> Iterator[Callable[[str], ObjectStore]]:
    """Opens an empty corner of the S3 server, through the endpoint given."""
    prefix, opened = f"test-{uuid.uuid4().hex[:12]}", []

    def open_at(endpoint_url: str) -> ObjectStore:
        settings = StorageSettings(
            redis_url="unix:///unused",
            object_url=f"{seaweed.object_url}/{prefix}",
            s3_endpoint_url=endpoint_url,
        )
        opened.append(open_objects(settings))
        return opened[-1]

    yield open_at
    for each in opened:
        each.close()


@pytest.fixture
def store(objects: ObjectStore) -> ArtifactStore:
    return ArtifactStore(objects, SMALL)
