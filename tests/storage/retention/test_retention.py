"""What goes and what stays, on real stores; a crash at any point leaves only orphans."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from schemas.artifacts import Manifest
from schemas.errors import NotFound
from storage.artifact_index import ArtifactIndex
from storage.connect import open_objects
from storage.objects.objects import ObjectStore
from storage.retention.artifact_files import delete_artifact, list_manifests, read_manifest
from storage.retention.index_repair import repair
from storage.retention.retention import Retention, RetentionSettings, Swept
from storage.settings import StorageSettings
from tests.storage.manifests import artifact, id_of, write


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ObjectStore]:
    url = (tmp_path / "objects").as_uri()
    store = open_objects(StorageSettings(redis_url="unix:///unused", object_url=url))
    yield store
    store.close()


@pytest.fixture
def index(redis: Redis, prefix: str) -> ArtifactIndex:
    return ArtifactIndex(redis, prefix=prefix)


def keys(objects: ObjectStore) -> set[str]:
    return {info.key for info in objects.list("")}


def all_of(*manifests: Manifest) -> set[str]:
    packs = {f"{each.folder}/{pack.name}" for each in manifests for pack in each.packs}
    return packs | {each.key for each in manifests}


async def keep(objects: ObjectStore, index: ArtifactIndex, *manifests: Manifest) -> None:
    for manifest in manifests:
        write(objects, manifest)
        await index.add(manifest)


async def test_the_expired_go(folder: ObjectStore, index: ArtifactIndex) -> None:
    old, new = artifact(seed=1, expires_at=1), artifact(seed=2, expires_at=1 << 40)
    await keep(folder, index, old, new)
    assert await Retention(folder, index, RetentionSettings()).sweep() == Swept(expired=1)
    assert keys(folder) == all_of(new)
    with pytest.raises(NotFound):
        read_manifest(folder, "alpha", id_of(old))


async def test_over_quota_the_least_used_go(folder: ObjectStore, index: ArtifactIndex) -> None:
    made = [artifact(seed=seed) for seed in range(4)]
    await keep(folder, index, *made)
    other = artifact("beta", seed=9)
    await keep(folder, index, other)
    await index.touch("alpha", id_of(made[0]))
    swept = await Retention(folder, index, RetentionSettings(quota_bytes=32)).sweep()
    assert swept == Swept(over_quota=2)
    assert keys(folder) == all_of(made[0], made[3], other)


async def test_what_an_edit_reads_stays(folder: ObjectStore, index: ArtifactIndex) -> None:
    made = [artifact(seed=seed, expires_at=1) for seed in range(2)]
    await keep(folder, index, *made)
    await index.pin("alpha", made[0].source_key, "video_1/1", 60)
    retention = Retention(folder, index, RetentionSettings(quota_bytes=0))
    assert await retention.sweep() == Swept(expired=1)
    assert keys(folder) == all_of(made[0])
    await index.unpin("alpha", made[0].source_key, "video_1/1")
    assert await retention.sweep() == Swept(expired=1)
    assert keys(folder) == set()


class TestOrphans:
    async def test_what_no_manifest_names_goes(
        self, folder: ObjectStore, index: ArtifactIndex
    ) -> None:
        whole, crashed = artifact(seed=1), artifact(seed=2)
        await keep(folder, index, whole)
        folder.put(f"{crashed.folder}/left-0-cond-0.pack", b"before the manifest")
        folder.put(f"{whole.folder}/lost-0-cond-0.pack", b"of the second writer")
        retention = Retention(folder, index, RetentionSettings())
        assert await retention.collect(older_than_s=3600) == 0, "it may still be written"
        assert await retention.collect(older_than_s=0) == 2
        assert keys(folder) == all_of(whole)

    async def test_a_capture_in_progress_stays(
        self, folder: ObjectStore, index: ArtifactIndex
    ) -> None:
        going_on = artifact()
        folder.put(f"{going_on.folder}/n-0-cond-0.pack", b"half")
        lease = ("alpha", going_on.source_key, going_on.capture_key, "worker_1")
        await index.begin_capture(*lease, 60)
        retention = Retention(folder, index, RetentionSettings())
        assert await retention.collect(older_than_s=0) == 0
        await index.end_capture(*lease)
        assert await retention.collect(older_than_s=0) == 1

    async def test_a_manifest_that_cannot_be_read_protects_its_packs(
        self, folder: ObjectStore, index: ArtifactIndex
    ) -> None:
        later = artifact()
        write(folder, later)
        folder.put(later.key, b'{"version": 99}')
        assert await Retention(folder, index, RetentionSettings()).collect(older_than_s=0) == 0

    async def test_a_crash_between_manifest_and_packs_when_deleting(
        self, folder: ObjectStore, index: ArtifactIndex
    ) -> None:
        gone = artifact()
        write(folder, gone)
        folder.delete(gone.key)
        assert await Retention(folder, index, RetentionSettings()).collect(older_than_s=0) == 1
        assert keys(folder) == set()

    async def test_unfinished_uploads_and_old_quarantine_go(
        self, folder: ObjectStore, index: ArtifactIndex
    ) -> None:
        folder.put_parts("artifacts/a/b/c.pack").write(b"never committed")
        folder.put("quarantine/manifests/alpha/x.json", b"damaged")
        settings = RetentionSettings(orphan_age_s=1e-9, quarantine_age_s=1e-9)
        assert (await Retention(folder, index, settings).sweep()).unfinished == 1
        assert keys(folder) == set()


async def test_the_index_can_be_made_again(folder: ObjectStore, index: ArtifactIndex) -> None:
    made = [artifact(seed=seed) for seed in (3, 1, 2)] + [artifact("beta")]
    for manifest in made:
        write(folder, manifest)
    folder.put("manifests/alpha/broken.json", b"{")
    assert len(list(list_manifests(folder))) == 4
    assert await repair(folder, index) == 4
    page, _ = await index.list("alpha", order="asc")
    assert [each.recipe.generation.seed for each in page] == [1, 2, 3]
    assert await index.usage() == {"alpha": 48, "beta": 16}


async def test_what_redis_did_not_list_is_listed_and_expires(
    folder: ObjectStore, index: ArtifactIndex
) -> None:
    """As where it was out of memory when the artifact was published."""
    lost, listed = artifact(seed=1, expires_at=1), artifact(seed=2)
    write(folder, lost)
    await keep(folder, index, listed)
    retention = Retention(folder, index, RetentionSettings())
    assert await retention.expire() == (0, 0)
    assert await repair(folder, index) == 1
    assert await repair(folder, index) == 0
    assert await retention.expire() == (1, 0)
    assert keys(folder) == all_of(listed)


@pytest.mark.parametrize("even_pinned", [False, True])
async def test_what_is_being_deleted_is_not_listed_again(
    folder: ObjectStore, index: ArtifactIndex, even_pinned: bool
) -> None:
    """It is unlisted first; until its objects are gone it looks like one that was lost."""
    leaving = artifact()
    await keep(folder, index, leaving)
    await index.remove("alpha", id_of(leaving), even_pinned=even_pinned)
    assert await repair(folder, index) == 0
    await index.add(leaving)  # made again meanwhile
    assert (await index.get("alpha", id_of(leaving))).id == id_of(leaving)


def test_deleting_what_is_none(folder: ObjectStore) -> None:
    delete_artifact(folder, "alpha", id_of(artifact()))
    for id in ("", "attn_x_y", "../manifests", f"{id_of(artifact())}/.."):
        with pytest.raises(NotFound):
            delete_artifact(folder, "alpha", id)
