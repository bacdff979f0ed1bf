"""The workers' side of the job store: leases, fences, attempts."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from schemas.jobs import JobError
from storage.jobs.jobs import Jobs
from storage.jobs.records import Claim, LeaseLost
from tests.storage.specs import RESULT, make_spec

CRASH = JobError(code="worker_lost", message="the worker stopped")
OOM = JobError(code="out_of_memory", message="the model does not fit")
OVER_S = 0.001  # a lease that is over by the next call


async def claimed(jobs: Jobs, video_id: str = "a", lease_s: float = 60) -> Claim:
    claim = await jobs.claims.claim(video_id, "w", lease_s)
    assert claim is not None
    return claim


async def expire(jobs: Jobs, claim: Claim, redis: Redis, prefix: str) -> None:
    """Let the lease end, as if its time had passed."""
    await redis.hset(f"{prefix}:job:{claim.job.spec.id}", "lease_until", 1)


@pytest.fixture(autouse=True)
async def job(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a", retention_s=60)])


WRITES: dict[str, Callable[[Jobs, Claim], Awaitable[object]]] = {
    "heartbeat": lambda jobs, claim: jobs.claims.heartbeat(claim, 60),
    "progress": lambda jobs, claim: jobs.claims.progress(
        claim, step=9, total=9, data={}, lease_s=60
    ),
    "complete": lambda jobs, claim: jobs.claims.complete(claim, RESULT, None),
    "fail": lambda jobs, claim: jobs.claims.fail(claim, OOM),
    "release": lambda jobs, claim: jobs.claims.release(claim, OOM),
    "drain": lambda jobs, claim: jobs.claims.release(claim),
}


async def test_a_cancel_during_the_last_step_is_kept(jobs: Jobs) -> None:
    claim = await claimed(jobs)
    accepted = await jobs.store.request_cancel("p", "a")
    assert accepted.state.status == "in_progress"
    for _ in range(2):  # the second: an answer was lost
        with pytest.raises(LeaseLost):
            await jobs.claims.complete(claim, RESULT)
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.result) == ("failed", None)
    assert state.error is not None
    assert state.error.code == "cancelled"
    assert [event.type for event in await jobs.events.read("a")][-1] == "failed"


async def test_a_claim_is_a_job_in_progress(jobs: Jobs) -> None:
    claim = await claimed(jobs)
    state = claim.job.state
    assert (state.status, state.worker, state.attempts) == ("in_progress", "w", 1)
    assert state.fence == claim.fence > 0
    assert state.started_at is not None
    assert await jobs.store.get("p", "a") == claim.job
    assert (
        await jobs.maintenance.count_running(),
        (await jobs.maintenance.queue_depths())["normal"],
    ) == (1, 0)


async def test_a_live_lease_is_respected(jobs: Jobs) -> None:
    await claimed(jobs)
    assert await jobs.claims.claim("a", "other", 60) is None
    assert (await jobs.store.get("p", "a")).state.attempts == 1


async def test_of_many_claims_one_wins(jobs: Jobs) -> None:
    won = await asyncio.gather(*(jobs.claims.claim("a", f"w{i}", 60) for i in range(20)))
    assert sum(claim is not None for claim in won) == 1


async def test_a_claim_whose_answer_was_lost_is_the_same_claim(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's retry sends the same script with the same claim id."""
    same = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: same)
    first, second = await claimed(jobs), await claimed(jobs)
    assert first == second
    assert second.job.state.attempts == 1


@pytest.mark.parametrize("write", WRITES)
async def test_a_worker_past_its_lease_can_write_nothing(
    jobs: Jobs, redis: Redis, prefix: str, write: str
) -> None:
    """A stopped worker, another that took over, then the first wakes."""
    zombie = await claimed(jobs)
    await expire(jobs, zombie, redis, prefix)
    heir = await claimed(jobs)
    assert heir.fence > zombie.fence

    async def seen() -> object:
        lease = await redis.hget(f"{prefix}:job:a", "lease_until")
        return (
            await jobs.store.get("p", "a"),
            await jobs.events.read("a"),
            lease,
            await jobs.queue.read("c", 9),
        )

    await jobs.queue.read("c", 1)
    before = await seen()
    with pytest.raises(LeaseLost):
        await WRITES[write](jobs, zombie)
    assert await seen() == before

    await jobs.claims.complete(heir, RESULT, None)
    before = await seen()
    with pytest.raises(LeaseLost):
        await WRITES[write](jobs, zombie)
    assert await seen() == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_deleted_job_takes_no_writes(jobs: Jobs, write: str) -> None:
    claim = await claimed(jobs)
    await jobs.store.delete("p", "a")
    with pytest.raises(LeaseLost):
        await WRITES[write](jobs, claim)


async def test_a_late_worker_that_nobody_replaced_goes_on(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    claim = await claimed(jobs)
    await expire(jobs, claim, redis, prefix)
    await jobs.claims.heartbeat(claim, 60)
    assert await jobs.claims.claim("a", "other", 60) is None
    await jobs.claims.complete(claim, RESULT, None)


async def test_the_lease_is_renewed_by_the_servers_clock(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    claim = await claimed(jobs, lease_s=OVER_S)
    renewals = (
        jobs.claims.heartbeat(claim, 100),
        jobs.claims.progress(claim, step=1, total=2, data={}, lease_s=200),
    )
    for renewal, lease_s in zip(renewals, (100, 200), strict=True):
        await renewal
        until = int((await redis.hget(f"{prefix}:job:a", "lease_until")) or 0)
        seconds, microseconds = await redis.time()
        now = seconds * 1000 + microseconds // 1000
        assert (lease_s - 10) * 1000 < until - now <= lease_s * 1000


async def test_progress_is_in_the_record_and_the_events(jobs: Jobs) -> None:
    claim = await claimed(jobs)
    assert (
        await jobs.claims.progress(claim, step=2, total=4, data={"phase": "denoise"}, lease_s=9)
        is False
    )
    state = (await jobs.store.get("p", "a")).state
    assert (state.step, state.total_steps) == (2, 4)
    assert (await jobs.events.read("a"))[-1].data == {"phase": "denoise", "step": 2, "total": 4}
    with pytest.raises(ValueError, match="JSON compliant"):
        await jobs.claims.progress(claim, step=2, total=4, data={"loss": float("nan")}, lease_s=9)


async def test_a_completed_job(jobs: Jobs) -> None:
    claim = await claimed(jobs)
    await jobs.claims.complete(claim, RESULT, 3600)
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.result, state.worker) == ("completed", RESULT, None)
    assert state.completed_at is not None
    assert state.expires_at == state.completed_at + 3600
    assert (await jobs.maintenance.count_running(), await jobs.maintenance.count_open("p")) == (
        0,
        0,
    )
    assert await jobs.claims.claim("a", "w", 60) is None
    await jobs.claims.complete(claim, RESULT, 3600)  # sent again after a lost answer
    with pytest.raises(LeaseLost):
        await jobs.claims.fail(claim, OOM)
    assert [event.type for event in await jobs.events.read("a")].count("completed") == 1


async def test_a_failed_job(jobs: Jobs) -> None:
    claim = await claimed(jobs)
    await jobs.claims.fail(claim, OOM)
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.error, state.result) == ("failed", OOM, None)
    assert state.completed_at is not None
    assert state.expires_at == state.completed_at + 60  # as submitted
    assert (await jobs.events.read("a"))[-1].data == OOM.model_dump()
    assert await jobs.maintenance.list_dead() == []
    await jobs.claims.fail(claim, OOM)


async def test_a_drain_is_not_an_attempt(jobs: Jobs) -> None:
    for _ in range(5):
        claim = await claimed(jobs)
        assert claim.job.state.attempts == 1
        await jobs.claims.progress(claim, step=3, total=4, data={}, lease_s=60)
        await jobs.claims.release(claim)
        await jobs.claims.release(claim)  # sent again after a lost answer
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.attempts, state.step, state.worker) == ("queued", 0, 0, None)
    assert len(await jobs.queue.read("c", 10)) == 1


async def test_failed_attempts_are_capped(jobs: Jobs) -> None:
    for attempt in (1, 2):
        claim = await claimed(jobs)
        assert claim.job.state.attempts == attempt
        await jobs.claims.release(claim, CRASH)
        assert (await jobs.store.get("p", "a")).state.status == "queued"
    await jobs.claims.release(await claimed(jobs), OOM)
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.error, state.attempts) == ("failed", OOM, 3)
    (letter,) = await jobs.maintenance.list_dead()
    assert (letter.video_id, letter.error) == ("a", OOM)
    assert await jobs.queue.read("c", 10) == []


async def test_only_the_holders_lease_is_forfeit(jobs: Jobs) -> None:
    assert await jobs.queue.forfeit("a", "w", CRASH) is False
    claim = await claimed(jobs)
    assert await jobs.queue.forfeit("a", "other", CRASH) is False
    assert await jobs.claims.claim("a", "other", 60) is None
    await jobs.claims.heartbeat(claim, 60)


async def test_a_cancelled_job_is_not_run_again(jobs: Jobs, redis: Redis, prefix: str) -> None:
    claim = await claimed(jobs)
    await jobs.store.request_cancel("p", "a")
    await expire(jobs, claim, redis, prefix)
    assert await jobs.claims.claim("a", "heir", 60) is None
    state = (await jobs.store.get("p", "a")).state
    assert state.error is not None
    assert (state.status, state.error.code) == ("failed", "cancelled")


@pytest.mark.parametrize("error", [None, OOM])
async def test_a_cancelled_job_is_not_handed_back(jobs: Jobs, error: JobError | None) -> None:
    claim = await claimed(jobs)
    await jobs.store.request_cancel("p", "a")
    await jobs.claims.release(claim, error)
    state = (await jobs.store.get("p", "a")).state
    assert state.error is not None
    assert (state.status, state.error.code) == ("failed", "cancelled")


async def test_what_does_not_exist_is_not_claimed(jobs: Jobs) -> None:
    assert await jobs.claims.claim("none", "w", 60) is None
