"""One worker's side of a job, on a real Valkey and a real folder; no Ray."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.jobs import Job, JobError
from storage.jobs.claims import Claims
from storage.jobs.jobs import Jobs
from storage.jobs.records import Claim
from storage.objects.folder import FolderStore
from storage.objects.objects import Data, ObjectMissing, ObjectStore, ObjectStoreError
from tests.workers.scripted import ScriptedEngine, spec_of
from tests.workers.waiting import ended, events_of, release, stepped, until
from workers.control.lease import HandBack, Lease
from workers.control.run_job import JobContext, run_job
from workers.settings import WorkerSettings


def unheard(lease: Lease | None) -> None:
    pass


async def run(context: JobContext, jobs: Jobs, number: int, prompt: str = "") -> Job:
    await jobs.store.submit([spec_of(number, prompt)])
    await run_job(context, f"video_{number:08d}", unheard)
    return await jobs.store.get("tests", f"video_{number:08d}")


def files(objects: ObjectStore, video_id: str) -> list[str]:
    return sorted(info.key for info in objects.list(f"videos/tests/{video_id}"))


async def test_a_job_ends_with_its_files_and_its_steps(
    context: JobContext, jobs: Jobs, objects: ObjectStore
) -> None:
    job = await run(context, jobs, 1)
    assert job.state.status == "completed"
    result = job.state.result
    assert result is not None
    with av.open(io.BytesIO(objects.get(result.video_key)), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    assert result.size_bytes == objects.size(result.video_key)
    assert files(objects, job.spec.id) == sorted(
        [result.video_key, result.thumbnail_key, result.spritesheet_key]
    )
    assert all(f"/{job.state.fence}/" in key for key in files(objects, job.spec.id))
    events = await events_of(jobs, job.spec.id)
    assert [event.type for event in events] == [
        "queued", "started", *["progress"] * 4, "completed",
    ]  # fmt: skip
    assert [event.data["step"] for event in events[2:-1]] == [1, 2, 3, 4]
    assert events[-2].data["eta"] == 0


async def test_the_same_recipe_gives_the_same_bytes(
    context: JobContext, jobs: Jobs, objects: ObjectStore
) -> None:
    videos = []
    for number, seed in ((1, 1), (2, 1), (3, 3)):
        spec = spec_of(seed).model_copy(update={"id": f"video_{number:08d}"})
        await jobs.store.submit([spec])
        await run_job(context, spec.id, unheard)
        result = (await jobs.store.get("tests", spec.id)).state.result
        assert result is not None
        videos.append(objects.get(result.video_key))
    assert videos[0] == videos[1] != videos[2]


@pytest.mark.parametrize(("prompt", "code"), [("oom", "out_of_memory"), ("refused", "unsupported")])
async def test_what_would_fail_again_fails_at_once(
    context: JobContext, jobs: Jobs, objects: ObjectStore, prompt: str, code: str
) -> None:
    job = await run(context, jobs, 1, prompt)
    assert (job.state.status, job.state.attempts) == ("failed", 1)
    assert job.state.error is not None
    assert job.state.error.code == code
    assert files(objects, job.spec.id) == []
    assert (await run(context, jobs, 2)).state.status == "completed"


async def test_a_bug_is_tried_again_then_dead_lettered_without_its_text(
    context: JobContext, jobs: Jobs
) -> None:
    await jobs.store.submit([spec_of(1, "bug")])
    for attempt in (1, 2, 3):
        await run_job(context, "video_00000001", unheard)
        state = (await jobs.store.get("tests", "video_00000001")).state
        assert (state.attempts, state.status) == (attempt, "queued" if attempt < 3 else "failed")
    assert state.error is not None
    assert "/a/path" not in state.error.message
    assert [letter.video_id for letter in await jobs.maintenance.list_dead()] == ["video_00000001"]


async def test_a_cancelled_job_stops_at_its_next_step(
    context: JobContext, jobs: Jobs, objects: ObjectStore
) -> None:
    await jobs.store.submit([spec_of(1, "hold")])
    running = asyncio.create_task(run_job(context, "video_00000001", unheard))
    await stepped(jobs, "video_00000001")
    await jobs.store.request_cancel("tests", "video_00000001")
    job = await ended(jobs, "video_00000001")
    assert job.state.error is not None
    assert job.state.error.code == "cancelled"
    await running
    assert files(objects, "video_00000001") == []


async def test_a_job_that_is_handed_back_keeps_its_attempts(
    context: JobContext, jobs: Jobs
) -> None:
    leases: list[Lease | None] = []
    await jobs.store.submit([spec_of(1, "hold")])
    running = asyncio.create_task(run_job(context, "video_00000001", leases.append))
    await stepped(jobs, "video_00000001")
    assert leases[0] is not None
    leases[0].interrupt(HandBack())
    await running
    state = (await jobs.store.get("tests", "video_00000001")).state
    assert (state.status, state.attempts) == ("queued", 0)
    assert leases[-1] is None


class Unheard:
    """A worker's claims, whose renewals no longer arrive after ``stop``: the lease sees a stopped
    process, and the job one whose Redis is away."""

    def __init__(self, claims: Claims) -> None:
        self.complete, self.fail, self.release = claims.complete, claims.fail, claims.release
        self.claim = claims.claim
        self._claims, self._stopped, self._sending = claims, False, asyncio.Lock()

    async def stop(self) -> None:
        """Returns when none is on its way."""
        async with self._sending:
            self._stopped = True

    async def heartbeat(self, claim: Claim, lease_s: float) -> bool:
        async with self._sending:
            if self._stopped:
                raise RedisConnectionError
            return await self._claims.heartbeat(claim, lease_s)

    async def progress(self, claim: Claim, **step: Any) -> bool:
        async with self._sending:
            if self._stopped:
                raise RedisConnectionError
            return await self._claims.progress(claim, **step)


async def test_a_zombie_changes_nothing(
    context: JobContext, jobs: Jobs, objects: ObjectStore, settings: WorkerSettings
) -> None:
    """Its lease is ended under it, another worker finishes, then it goes on to its own commit."""
    await jobs.store.submit([spec_of(1, "late")])
    claims = Unheard(jobs.claims)
    stopping = replace(context, claims=cast(Claims, claims))
    zombie = asyncio.create_task(run_job(stopping, "video_00000001", unheard))
    await stepped(jobs, "video_00000001")
    await claims.stop()  # else it may renew its lease between forfeit and claim
    assert await jobs.queue.forfeit("video_00000001", "worker-a", _error())
    other = JobContext(
        "worker-b", jobs.claims, objects, ScriptedEngine(settings, objects), settings
    )
    heir = asyncio.create_task(run_job(other, "video_00000001", unheard))

    async def taken() -> bool:
        return (await jobs.store.get("tests", "video_00000001")).state.worker == "worker-b"

    await until(taken, "the other worker has the job")
    release(objects, "video_00000001")
    await heir
    done = await jobs.store.get("tests", "video_00000001")
    assert done.state.result is not None
    video = objects.get(done.state.result.video_key)
    await zombie
    assert await jobs.store.get("tests", "video_00000001") == done
    assert objects.get(done.state.result.video_key) == video
    kept = files(objects, "video_00000001")
    assert len(kept) == 3
    assert all(f"/{done.state.fence}/" in key for key in kept)
    assert [event.type for event in await events_of(jobs, "video_00000001")].count("completed") == 1


async def test_a_deleted_job_leaves_nothing(
    context: JobContext, jobs: Jobs, objects: ObjectStore
) -> None:
    await jobs.store.submit([spec_of(1, "hold")])
    running = asyncio.create_task(run_job(context, "video_00000001", unheard))
    await stepped(jobs, "video_00000001")
    await jobs.store.delete("tests", "video_00000001")
    await running
    assert files(objects, "video_00000001") == []


async def test_a_job_that_hangs_loses_its_lease(jobs: Jobs, settings: WorkerSettings) -> None:
    await jobs.store.submit([spec_of(1)])
    claim = await jobs.claims.claim("video_00000001", "worker-a", 0.2)
    assert claim is not None
    async with Lease(jobs.claims, claim, lease_s=0.2, stall_s=0.1) as lease:

        async def claimable() -> bool:
            return await jobs.claims.claim("video_00000001", "worker-b", 60) is not None

        await until(claimable, "the lease ends")
        assert lease.stalled


class Failing(FolderStore):
    """A folder whose writes fail, from the one numbered ``first`` on, ``failures`` times."""

    def __init__(self, folder: Path, failures: int, first: int = 0) -> None:
        super().__init__(folder)
        self.failures, self.first = failures, first

    def put(self, key: str, data: Data, **options: Any) -> bool:
        self.first -= key.startswith("videos/")
        if self.first < 0 and self.failures:
            self.failures -= 1
            raise ObjectStoreError("disk")
        return super().put(key, data, **options)


async def test_a_finished_film_waits_for_the_store(
    context: JobContext, jobs: Jobs, tmp_path: Path
) -> None:
    store = Failing(tmp_path / "objects", failures=2)
    tired = JobContext("worker-a", jobs.claims, store, context.engine, context.settings)
    assert (await run(tired, jobs, 1)).state.status == "completed"


async def test_a_store_that_stays_away_gives_the_job_back(
    context: JobContext, jobs: Jobs, tmp_path: Path
) -> None:
    store = Failing(tmp_path / "objects", failures=10**6, first=2)
    tired = JobContext("worker-a", jobs.claims, store, context.engine, context.settings)
    job = await run(tired, jobs, 1)
    assert (job.state.status, job.state.attempts) == ("queued", 0)
    assert await jobs.queue.read("c", 10) == [], "it waits before it is tried again"
    assert files(store, job.spec.id) == [], "what was written before is deleted"


async def test_nothing_is_claimed_while_nothing_can_be_stored(
    context: JobContext, jobs: Jobs, tmp_path: Path
) -> None:
    """A disk with too little room; a run would cost its GPU time and be lost."""
    full = replace(context, objects=FolderStore(tmp_path / "objects", min_free_bytes=1 << 60))
    job = await run(full, jobs, 1)
    assert (job.state.status, job.state.attempts, job.state.started_at) == ("queued", 0, None)
    await run_job(context, job.spec.id, unheard)
    assert (await jobs.store.get("tests", job.spec.id)).state.status == "completed"


async def test_a_job_lost_while_its_files_are_written_leaves_none(
    context: JobContext, jobs: Jobs, tmp_path: Path
) -> None:
    store = Failing(tmp_path / "objects", failures=1, first=2)
    patient = context.settings.model_copy(update={"storage_patience_s": 5.0, "lease_s": 60.0})
    slow = JobContext("worker-a", jobs.claims, store, context.engine, patient)
    await jobs.store.submit([spec_of(1)])
    losing = asyncio.create_task(run_job(slow, "video_00000001", unheard))

    async def written() -> bool:
        return len(files(store, "video_00000001")) == 2

    await until(written, "two of three files are written")
    assert await jobs.queue.forfeit("video_00000001", "worker-a", _error())
    claim = await jobs.claims.claim("video_00000001", "worker-b", 60)
    assert claim is not None
    await losing
    assert files(store, "video_00000001") == []
    assert (await jobs.store.get("tests", "video_00000001")).state.fence == claim.fence


async def test_every_step_is_told_before_the_end(context: JobContext, jobs: Jobs) -> None:
    await jobs.store.submit([spec_of(1, steps=200)])
    await run_job(context, "video_00000001", unheard)
    told = [event.data["step"] for event in (await events_of(jobs, "video_00000001"))[2:-1]]
    assert told == list(range(1, 201))


async def test_a_claim_that_is_refused_runs_nothing(
    context: JobContext, jobs: Jobs, objects: ObjectStore
) -> None:
    await jobs.store.submit([spec_of(1)])
    assert await jobs.claims.claim("video_00000001", "worker-b", 60)
    await run_job(context, "video_00000001", unheard)
    with pytest.raises(ObjectMissing):
        objects.get("videos/tests/video_00000001/0/video.mp4")
    assert files(objects, "video_00000001") == []


def _error() -> JobError:
    return JobError(code="generation_failed", message="the worker died")
