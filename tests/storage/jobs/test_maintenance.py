"""Jobs past their time, and jobs that ran out of attempts."""

import pytest
from redis.asyncio import Redis

from schemas.errors import InvalidRequest, NotFound
from schemas.jobs import Job, JobError
from storage.jobs.jobs import Jobs, open_jobs
from tests.storage.specs import RESULT, make_spec

OOM = JobError(code="out_of_memory", message="the model does not fit")


async def test_expired_jobs_can_be_swept(jobs: Jobs) -> None:
    async def end(video_id: str, retention_s: int | None) -> Job:
        await jobs.store.submit([make_spec(video_id)])
        claim = await jobs.claims.claim(video_id, "w", 60)
        assert claim is not None
        await jobs.claims.complete(claim, RESULT, retention_s)
        return await jobs.store.get("p", video_id)

    kept, gone, also_gone = await end("kept", 3600), await end("gone", 0), await end("also", 0)
    assert kept.state.completed_at is not None
    assert kept.state.expires_at == kept.state.completed_at + 3600
    assert (await end("for-ever", None)).state.expires_at is None
    expired = await jobs.maintenance.list_expired()
    assert sorted(job.spec.id for job in expired) == ["also", "gone"]
    assert len(await jobs.maintenance.list_expired(limit=1)) == 1
    for job in (gone, also_gone):
        await jobs.store.delete("p", job.spec.id)
    assert await jobs.maintenance.list_expired() == []


async def test_a_failed_job_can_be_retried(jobs: Jobs, redis: Redis, prefix: str) -> None:
    jobs = open_jobs(redis, prefix=prefix, max_attempts=1)
    await jobs.store.submit([make_spec("a", retention_s=0), make_spec("b")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.claims.release(claim, OOM)
    assert len(await jobs.maintenance.list_expired()) == 1
    (letter,) = await jobs.maintenance.list_dead()
    assert (letter.video_id, letter.error) == ("a", OOM)
    failed = await jobs.store.get("p", "a")
    assert (failed.state.status, failed.state.error) == ("failed", OOM)

    job = await jobs.maintenance.retry("a")
    assert (job.state.status, job.state.attempts, job.state.error) == ("queued", 0, None)
    assert (job.state.expires_at, job.state.completed_at) == (None, None)
    assert await jobs.maintenance.list_dead() == []
    assert await jobs.maintenance.list_expired() == []
    assert await jobs.maintenance.count_open("p") == 2
    assert await redis.ttl(f"{prefix}:events:a") == -1
    again = await jobs.claims.claim("a", "w", 60)
    assert again is not None
    assert again.fence > claim.fence
    with pytest.raises(InvalidRequest, match="a is in_progress; only a failed job"):
        await jobs.maintenance.retry("a")
    with pytest.raises(NotFound):
        await jobs.maintenance.retry("none")
