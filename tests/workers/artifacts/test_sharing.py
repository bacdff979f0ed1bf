"""Many workers, one artifact: captured once, pinned while it is read, listed when it is there."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
import torch

from schemas.artifacts import Manifest, artifact_id
from schemas.errors import ArtifactCorrupt, ArtifactMissing, ArtifactWriteFailed
from storage.artifact_index import ArtifactIndex
from storage.connect import open_redis
from storage.objects.objects import ObjectStore
from storage.settings import StorageSettings
from tests.workers.artifacts.captures import (
    GRID,
    PROJECT,
    SMALL,
    everything,
    fill,
    plan,
    recipe,
    write,
)
from workers.artifacts.index_client import IndexClient
from workers.artifacts.store import ArtifactStore
from workers.artifacts.write.writer import ArtifactWriter
from workers.attention.maps import Address

T = TypeVar("T")
CPU = torch.device("cpu")
PLAN = plan()
NEEDED = everything(PLAN)


@pytest.fixture
def settings(valkey_url: str) -> StorageSettings:
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    return StorageSettings(redis_url=valkey_url, object_url="file:///unused", redis_prefix=prefix)


@pytest.fixture
def worker(objects: ObjectStore, settings: StorageSettings) -> Iterator[ArtifactStore]:
    index = IndexClient(settings)
    yield ArtifactStore(objects, SMALL, index)
    index.close()


@pytest.fixture
def another(objects: ObjectStore, settings: StorageSettings) -> Iterator[ArtifactStore]:
    index = IndexClient(settings)
    yield ArtifactStore(objects, SMALL, index)
    index.close()


class Look:
    """What the index says, asked from outside any worker."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings

    def videos(self, manifest: Manifest) -> list[str]:
        async def ask(index: ArtifactIndex) -> list[str]:
            return list(await index.videos(PROJECT, _id(manifest)))

        return self._run(ask)

    def remove(self, manifest: Manifest) -> bool:
        return self._run(lambda index: index.remove(PROJECT, _id(manifest)))

    def listed(self) -> list[str]:
        async def ask(index: ArtifactIndex) -> list[str]:
            return [each.id for each in (await index.list(PROJECT))[0]]

        return self._run(ask)

    def _run(self, ask: Callable[[ArtifactIndex], Awaitable[T]]) -> T:
        async def run() -> T:
            redis = open_redis(self._settings)
            try:
                return await ask(ArtifactIndex(redis, prefix=self._settings.redis_prefix))
            finally:
                await redis.aclose()

        return asyncio.run(run())


@pytest.fixture
def look(settings: StorageSettings) -> Look:
    return Look(settings)


def _id(manifest: Manifest) -> str:
    return artifact_id(manifest.source_key, manifest.capture_key)


def begin(store: ArtifactStore, video_id: str = "video_1") -> ArtifactWriter:
    return store.open_writer(
        project=PROJECT, recipe=recipe(), plan=PLAN, grid=GRID, video_id=video_id
    )


def test_the_same_capture_runs_once(
    worker: ArtifactStore, another: ArtifactStore, objects: ObjectStore, look: Look
) -> None:
    with begin(worker) as first, begin(another, "video_2") as second:
        fill(second, PLAN)
        fill(first, PLAN)
        assert second.pool.peak_bytes == 0, "nothing taken, nothing encoded"
        manifest = first.commit()
        assert second.commit() == manifest
    assert len({info.key for info in objects.list("")}) == len(manifest.packs) + 1
    assert look.listed() == [_id(manifest)]
    assert look.videos(manifest) == ["video_1", "video_2"]


def test_a_capture_that_was_given_up_may_be_begun_again(
    worker: ArtifactStore, another: ArtifactStore
) -> None:
    with begin(worker) as first, begin(another, "video_2") as second:
        first.abort()
        with pytest.raises(ArtifactWriteFailed, match="another video"):
            second.commit()
    with begin(another) as third:
        assert not third.elsewhere


def test_the_next_attempt_captures_what_a_dead_one_had_begun(
    worker: ArtifactStore, another: ArtifactStore
) -> None:
    with begin(worker) as dead, begin(another) as successor:
        fill(successor, PLAN)
        kept = successor.commit()
        assert not dead.elsewhere
    assert another.find(PROJECT, recipe().key(PROJECT), NEEDED) == kept


def test_what_is_kept_is_not_captured_again(worker: ArtifactStore) -> None:
    manifest, _ = write(worker, PLAN)
    with begin(worker) as again:
        assert again.elsewhere
        assert again.commit() == manifest


def test_what_has_expired_is_captured_anew(worker: ArtifactStore) -> None:
    with worker.open_writer(
        project=PROJECT, recipe=recipe(), plan=PLAN, grid=GRID, expires_at=1
    ) as old:
        fill(old, PLAN)
        old.commit()
    manifest, _ = write(worker, PLAN)
    assert manifest.expires_at is None
    assert worker.find(PROJECT, recipe().key(PROJECT), NEEDED) == manifest


def test_an_artifact_is_pinned_while_it_is_read(worker: ArtifactStore, look: Look) -> None:
    manifest, _ = write(worker, PLAN)
    with worker.open_reader(manifest, NEEDED, CPU, video_id="video_7") as reader:
        reader.get(Address(0, "cond", 0), "hidden")
        assert not look.remove(manifest)
    assert look.videos(manifest) == ["video_7"]
    assert look.remove(manifest)
    with pytest.raises(ArtifactMissing, match="being deleted"):
        worker.open_reader(manifest, NEEDED, CPU)


def test_of_a_deleted_artifact_the_device_keeps_nothing(
    objects: ObjectStore, settings: StorageSettings, look: Look
) -> None:
    index = IndexClient(settings)
    with_tier = SMALL.model_copy(update={"device_cache_bytes": 1 << 20})
    worker = ArtifactStore(objects, with_tier, index)
    manifest, _ = write(worker, PLAN)
    with worker.open_reader(manifest, NEEDED, CPU) as reader:
        reader.get(Address(0, "cond", 0), "hidden")
    assert look.remove(manifest)
    with pytest.raises(ArtifactMissing, match="being deleted"):
        worker.open_reader(manifest, NEEDED, CPU)
    assert not worker.free_device(), "nothing was left to be freed"
    index.close()


def test_a_damaged_artifact_is_listed_no_longer(
    worker: ArtifactStore, objects: ObjectStore, look: Look
) -> None:
    manifest, _ = write(worker, PLAN)
    objects.delete(f"{manifest.folder}/{manifest.packs[0].name}")
    with (
        worker.open_reader(manifest, NEEDED, CPU) as reader,
        pytest.raises(ArtifactCorrupt),
    ):
        reader.get(Address(0, "cond", 0), "hidden")
    assert look.listed() == []


def test_without_redis_artifacts_are_written_and_read(objects: ObjectStore) -> None:
    nowhere = StorageSettings(redis_url="unix:///nowhere.sock", object_url="file:///unused")
    index = IndexClient(nowhere, answer_s=0.05)
    store = ArtifactStore(objects, SMALL, index)
    manifest, kept = write(store, PLAN)
    with store.open_reader(manifest, NEEDED, CPU) as reader:
        at = Address(0, "cond", 0)
        assert torch.equal(reader.get(at, "hidden"), kept.get(at, "hidden"))
    index.close()
