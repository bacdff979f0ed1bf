"""Map jobs in the store: one per picture, in no list of videos, gone with their artifact."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas.errors import NotFound, RateLimited
from schemas.jobs import Job, JobError, JobSpec, MapResult
from schemas.maps import Look, MapView, map_id
from storage.artifact_index import ArtifactIndex
from storage.jobs.jobs import Jobs
from storage.jobs.records import Claim, LeaseLost
from storage.objects.objects import ObjectStore
from storage.retention.artifact_files import delete_artifact
from storage.retention.video_files import collect_videos
from tests.storage.manifests import artifact, id_of
from tests.storage.specs import make_spec

PICTURE = MapResult(map_key="maps/p/a/m/1/map.png")
OOM = JobError(code="out_of_memory", message="the model does not fit")
MANIFEST = artifact("p")
ARTIFACT = id_of(MANIFEST)


@pytest.fixture
async def index(redis: Redis, prefix: str) -> ArtifactIndex:
    index = ArtifactIndex(redis, prefix=prefix)
    await index.add(MANIFEST)
    return index


def spec_of(layer: int = 0, of: str = ARTIFACT, **fields: Any) -> JobSpec:
    look = Look(artifact_id=of, view=MapView(layer=layer))
    return make_spec(map_id("p", look), priority="high", look=look, **fields)


async def submit(jobs: Jobs, spec: JobSpec, retry_s: float = 30, **limit: int) -> Job:
    return await jobs.store.submit_map(spec, retry_s=retry_s, max_open=limit.get("max_open"))


async def claimed(jobs: Jobs, spec: JobSpec) -> Claim:
    claim = await jobs.claims.claim(spec.id, "w", 60)
    assert claim is not None
    return claim


async def everything(redis: Redis, prefix: str) -> set[str]:
    return {key.decode() async for key in redis.scan_iter(f"{prefix}:*")}


def test_an_id_says_what_is_shown() -> None:
    looks = [
        Look(artifact_id=of, view=MapView.model_validate({name: value}))
        for of in ("a", "b")
        for name, value in (("step", 1), ("layer", 1), ("head", 1), ("bins", 1))
    ]
    ids = {map_id(project, look) for project in ("p", "q") for look in looks}
    assert len(ids) == 2 * len(looks)


async def test_the_same_picture_is_one_job(jobs: Jobs, index: ArtifactIndex) -> None:
    found = await asyncio.gather(*(submit(jobs, spec_of()) for _ in range(20)))
    assert {job.spec.id for job in found} == {spec_of().id}
    assert [each.video_id for each in await jobs.queue.read("c", 100)] == [spec_of().id]
    await submit(jobs, spec_of(layer=1))
    assert len(await jobs.queue.read("c", 100)) == 1


async def test_it_ends_with_a_picture_and_no_video(
    jobs: Jobs, index: ArtifactIndex, redis: Redis, prefix: str
) -> None:
    await submit(jobs, spec_of(retention_s=60))
    claim = await claimed(jobs, spec_of())
    await jobs.claims.complete(claim, PICTURE)
    await jobs.claims.complete(claim, PICTURE)  # a lost answer's second try
    state = (await submit(jobs, spec_of())).state
    assert (state.status, state.map, state.result) == ("completed", PICTURE, None)
    assert state.expires_at is not None
    assert await jobs.store.list("p", after=None, limit=10, order="asc") == ([], False)
    with pytest.raises(NotFound):
        await jobs.store.list("p", after=spec_of().id, limit=10, order="asc")
    assert not await redis.exists(f"{prefix}:video_bytes")
    await jobs.store.delete("p", spec_of().id)
    with pytest.raises(NotFound):
        await jobs.store.list("p", after=spec_of().id, limit=10, order="asc")
    left = await everything(redis, prefix)
    assert not [key for key in left if "map" in key.removeprefix(prefix)]


async def test_one_that_failed_is_tried_again_later(jobs: Jobs, index: ArtifactIndex) -> None:
    await submit(jobs, spec_of())
    claim = await claimed(jobs, spec_of())
    await jobs.claims.fail(claim, OOM)
    assert (await submit(jobs, spec_of())).state.error == OOM
    again = (await submit(jobs, spec_of(), retry_s=0)).state
    assert (again.status, again.error, again.attempts) == ("queued", None, 0)
    assert await jobs.claims.claim(spec_of().id, "w", 60) is not None


async def test_it_counts_among_the_projects_open_jobs(jobs: Jobs, index: ArtifactIndex) -> None:
    await submit(jobs, spec_of(), max_open=1)
    assert await jobs.maintenance.count_open("p") == 1
    await submit(jobs, spec_of(), max_open=1)  # joins it
    with pytest.raises(RateLimited, match="1 jobs of this project"):
        await submit(jobs, spec_of(layer=1), max_open=1)
    with pytest.raises(RateLimited, match="1 jobs of this project"):
        await jobs.store.submit([make_spec("v")], max_open=1)


async def test_without_its_artifact_it_is_not_accepted(jobs: Jobs, index: ArtifactIndex) -> None:
    with pytest.raises(NotFound, match="attention 'attn_x' does not exist"):
        await submit(jobs, spec_of(of="attn_x"))
    await index.remove("p", ARTIFACT)
    with pytest.raises(NotFound):
        await submit(jobs, spec_of())
    assert await jobs.maintenance.count_open("p") == 0


async def test_it_goes_with_its_artifact_whatever_its_state(
    jobs: Jobs, index: ArtifactIndex, redis: Redis, prefix: str
) -> None:
    other = artifact("p", seed=1)
    await index.add(other)
    kept = spec_of(of=id_of(other))
    for spec in (*map(spec_of, range(4)), kept):
        await submit(jobs, spec)
    done, failed, running = [await claimed(jobs, spec_of(layer)) for layer in range(3)]
    await jobs.claims.complete(done, PICTURE)
    await jobs.claims.fail(failed, OOM)
    assert await index.remove("p", ARTIFACT)
    with pytest.raises(LeaseLost):
        await jobs.claims.heartbeat(running, 60)
    with pytest.raises(LeaseLost):
        await jobs.claims.complete(running, PICTURE)
    for layer in range(4):
        with pytest.raises(NotFound):
            await jobs.store.get("p", spec_of(layer).id)
    assert [each.video_id for each in await jobs.queue.read("c", 100)] == [kept.id]
    assert await jobs.maintenance.count_open("p") == 1
    assert await redis.zcard(f"{prefix}:running") == 0


async def test_a_pinned_artifact_keeps_its_maps(jobs: Jobs, index: ArtifactIndex) -> None:
    await submit(jobs, spec_of())
    assert await index.pin("p", MANIFEST.source_key, "edit", 60)
    assert not await index.remove("p", ARTIFACT)
    assert (await jobs.store.get("p", spec_of().id)).state.status == "queued"


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_pictures_that_nobody_has_are_collected(
    jobs: Jobs, index: ArtifactIndex, objects: ObjectStore
) -> None:
    await submit(jobs, spec_of())
    claim = await claimed(jobs, spec_of())
    kept = f"{spec_of().folder}/{claim.fence}/map.png"
    old = f"{spec_of().folder}/{claim.fence - 1}/map.png"
    nobodys = f"{spec_of(1).folder}/1/map.png"
    for key in (kept, old, nobodys):
        objects.put(key, b"x")
    assert await collect_videos(objects, jobs.store, -1) == 2
    assert [info.key for info in objects.list("maps")] == [kept]
    delete_artifact(objects, "p", ARTIFACT)
    assert list(objects.list("maps")) == []
