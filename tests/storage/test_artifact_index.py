"""Artifacts listed, pinned and captured, on a real Valkey."""

import pytest
from redis.asyncio import Redis

from schemas.errors import NotFound
from storage.artifact_index import ArtifactIndex
from tests.storage.manifests import artifact, id_of


@pytest.fixture
def index(redis: Redis, prefix: str) -> ArtifactIndex:
    return ArtifactIndex(redis, prefix=prefix)


async def test_lists_in_order_and_in_pages(index: ArtifactIndex) -> None:
    made = [artifact(seed=seed) for seed in range(5)]
    for manifest in made:
        await index.add(manifest)
    page, more = await index.list("alpha", limit=2)
    assert ([each.id for each in page], more) == ([id_of(made[4]), id_of(made[3])], True)
    page, more = await index.list("alpha", after=page[-1].id, limit=3)
    assert ([each.id for each in page], more) == ([id_of(made[i]) for i in (2, 1, 0)], False)
    page, _ = await index.list("alpha", order="asc", limit=1)
    assert page[0].recipe == made[0].recipe
    with pytest.raises(NotFound):
        await index.list("alpha", after="attn_of_nobody")


async def test_projects_do_not_see_one_another(index: ArtifactIndex) -> None:
    manifest = artifact()
    await index.add(manifest)
    with pytest.raises(NotFound):
        await index.get("beta", id_of(manifest))
    assert await index.list("beta") == ([], False)


async def test_adding_again_changes_nothing_but_what_it_says(index: ArtifactIndex) -> None:
    manifest = artifact(stored_bytes=100)
    await index.add(manifest, video_id="video_1")
    await index.add(manifest.model_copy(update={"stored_bytes": 70}), video_id="video_2")
    assert await index.usage() == {"alpha": 70}
    assert len((await index.list("alpha"))[0]) == 1
    assert await index.videos("alpha", id_of(manifest)) == ["video_1", "video_2"]


async def test_least_used_first(index: ArtifactIndex) -> None:
    made = [artifact(seed=seed) for seed in range(3)]
    for manifest in made:
        await index.add(manifest)
    await index.touch("alpha", id_of(made[0]), video_id="video_9")
    assert (await index.list_least_used("alpha", 3))[-1] == id_of(made[0])
    assert await index.videos("alpha", id_of(made[0])) == ["video_9"]
    await index.touch("alpha", id_of(artifact(seed=9)))
    assert len(await index.list_least_used("alpha", 9)) == 3, (
        "what is not listed is not begun by use"
    )


async def test_expired(index: ArtifactIndex) -> None:
    for seed, expires_at in enumerate((None, 50, 10)):
        await index.add(artifact(seed=seed, expires_at=expires_at))
    ids = [id_of(artifact(seed=seed)) for seed in (2, 1)]
    assert await index.list_expired(60) == [("alpha", id) for id in ids]
    assert await index.list_expired(60, limit=1) == [("alpha", ids[0])]
    assert await index.list_expired(5) == []


async def test_a_pin_keeps_an_artifact_until_the_last_holder_lets_go(index: ArtifactIndex) -> None:
    manifest = artifact()
    await index.add(manifest)
    key = manifest.source_key
    assert await index.pin("alpha", key, "video_1/1", 60)
    assert await index.pin("alpha", key, "video_2/1", 60)
    await index.unpin("alpha", key, "video_1/1")
    assert not await index.remove("alpha", id_of(manifest))
    assert (await index.get("alpha", id_of(manifest))).id == id_of(manifest)
    await index.unpin("alpha", key, "video_2/1")
    assert await index.remove("alpha", id_of(manifest))
    with pytest.raises(NotFound):
        await index.get("alpha", id_of(manifest))
    assert await index.usage() == {"alpha": 0}


async def test_a_dead_workers_pin_ends_by_itself(index: ArtifactIndex) -> None:
    manifest = artifact()
    await index.add(manifest)
    await index.pin("alpha", manifest.source_key, "video_1/1", 0)
    assert await index.remove("alpha", id_of(manifest))


async def test_nobody_pins_what_is_being_deleted(index: ArtifactIndex) -> None:
    manifest = artifact()
    await index.add(manifest)
    await index.remove("alpha", id_of(manifest))
    assert not await index.pin("alpha", manifest.source_key, "video_1/1", 60)
    assert await index.pin("alpha", artifact(seed=2).source_key, "video_1/1", 60)


async def test_a_user_may_delete_what_is_pinned(index: ArtifactIndex) -> None:
    manifest = artifact()
    await index.add(manifest)
    await index.pin("alpha", manifest.source_key, "video_1/1", 60)
    assert await index.remove("alpha", id_of(manifest), even_pinned=True)


async def test_one_captures_at_a_time(index: ArtifactIndex) -> None:
    manifest = artifact()
    keys = ("alpha", manifest.source_key, manifest.capture_key)
    assert await index.begin_capture(*keys, "worker_1", 60)
    assert not await index.begin_capture(*keys, "worker_2", 60)
    assert await index.begin_capture(*keys, "worker_1", 60), "a renewal"
    await index.end_capture(*keys, "worker_2")
    assert await index.is_being_captured("alpha", id_of(manifest)), "another's is left alone"
    await index.end_capture(*keys, "worker_1")
    assert await index.begin_capture(*keys, "worker_2", 60)


async def test_a_dead_attempts_capture_is_taken_over_by_its_successor(index: ArtifactIndex) -> None:
    manifest = artifact()
    keys = ("alpha", manifest.source_key, manifest.capture_key)
    assert await index.begin_capture(*keys, "video_1/a", 60, successor_of="video_1")
    assert not await index.begin_capture(*keys, "video_10/b", 60, successor_of="video_10")
    assert await index.begin_capture(*keys, "video_1/c", 60, successor_of="video_1")
    assert not await index.begin_capture(*keys, "video_1/a", 60), "it renews nothing of another's"
    await index.end_capture(*keys, "video_1/a")
    assert await index.is_being_captured("alpha", id_of(manifest))
