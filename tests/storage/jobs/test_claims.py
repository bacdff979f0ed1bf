"""The workers' side of the job store: leases, fences, attempts."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from schemas.jobs import JobError
from storage.jobs.job_store import Claim, JobStore, LeaseLost
from tests.storage.specs import RESULT, make_spec

CRASH = JobError(code="worker_lost", message="the worker stopped")
OOM = JobError(code="out_of_memory", message="the model does not fit")
OVER_S = 0.001  # a lease that is over by the next call


async def claimed(store: JobStore, video_id: str = "a", lease_s: float = 60) -> Claim:
    claim = await store.claim(video_id, "w", lease_s)
    assert claim is not None
    return claim


async def expire(store: JobStore, claim: Claim, redis: Redis, prefix: str) -> None:
    """Let the lease end, as if its time had passed."""
    await redis.hset(f"{prefix}:job:{claim.job.spec.id}", "lease_until", 1)


@pytest.fixture(autouse=True)
async def job(store: JobStore) -> None:
    await store.submit([make_spec("a", retention_s=60)])


WRITES: dict[str, Callable[[JobStore, Claim], Awaitable[object]]] = {
    "heartbeat": lambda store, claim: store.heartbeat(claim, 60),
    "progress": lambda store, claim: store.progress(claim, step=9, total=9, data={}, lease_s=60),
    "complete": lambda store, claim: store.complete(claim, RESULT, None),
    "fail": lambda store, claim: store.fail(claim, OOM),
    "release": lambda store, claim: store.release(claim, OOM),
    "drain": lambda store, claim: store.release(claim),
}


async def test_a_claim_is_a_job_in_progress(store: JobStore) -> None:
    claim = await claimed(store)
    state = claim.job.state
    assert (state.status, state.worker, state.attempts) == ("in_progress", "w", 1)
    assert state.fence == claim.fence > 0
    assert state.started_at is not None
    assert await store.get("p", "a") == claim.job
    assert (await store.running(), (await store.depths())["normal"]) == (1, 0)


async def test_a_live_lease_is_respected(store: JobStore) -> None:
    await claimed(store)
    assert await store.claim("a", "other", 60) is None
    assert (await store.get("p", "a")).state.attempts == 1


async def test_of_many_claims_one_wins(store: JobStore) -> None:
    won = await asyncio.gather(*(store.claim("a", f"w{i}", 60) for i in range(20)))
    assert sum(claim is not None for claim in won) == 1


async def test_a_claim_whose_answer_was_lost_is_the_same_claim(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's retry sends the same script with the same claim id."""
    same = uuid.uuid4()
    monkeypatch.setattr(uuid, "uuid4", lambda: same)
    first, second = await claimed(store), await claimed(store)
    assert first == second
    assert second.job.state.attempts == 1


@pytest.mark.parametrize("write", WRITES)
async def test_a_worker_past_its_lease_can_write_nothing(
    store: JobStore, redis: Redis, prefix: str, write: str
) -> None:
    """A stopped worker, another that took over, then the first wakes."""
    zombie = await claimed(store)
    await expire(store, zombie, redis, prefix)
    heir = await claimed(store)
    assert heir.fence > zombie.fence

    async def seen() -> object:
        lease = await redis.hget(f"{prefix}:job:a", "lease_until")
        return await store.get("p", "a"), await store.events("a"), lease, await store.read("c", 9)

    await store.read("c", 1)
    before = await seen()
    with pytest.raises(LeaseLost):
        await WRITES[write](store, zombie)
    assert await seen() == before

    await store.complete(heir, RESULT, None)
    before = await seen()
    with pytest.raises(LeaseLost):
        await WRITES[write](store, zombie)
    assert await seen() == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_deleted_job_takes_no_writes(store: JobStore, write: str) -> None:
    claim = await claimed(store)
    await store.delete("p", "a")
    with pytest.raises(LeaseLost):
        await WRITES[write](store, claim)


async def test_a_late_worker_that_nobody_replaced_goes_on(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    claim = await claimed(store)
    await expire(store, claim, redis, prefix)
    await store.heartbeat(claim, 60)
    assert await store.claim("a", "other", 60) is None
    await store.complete(claim, RESULT, None)


async def test_the_lease_is_renewed_by_the_servers_clock(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    claim = await claimed(store, lease_s=OVER_S)
    renewals = (
        store.heartbeat(claim, 100),
        store.progress(claim, step=1, total=2, data={}, lease_s=200),
    )
    for renewal, lease_s in zip(renewals, (100, 200), strict=True):
        await renewal
        until = int((await redis.hget(f"{prefix}:job:a", "lease_until")) or 0)
        seconds, microseconds = await redis.time()
        now = seconds * 1000 + microseconds // 1000
        assert (lease_s - 10) * 1000 < until - now <= lease_s * 1000


async def test_progress_is_in_the_record_and_the_events(store: JobStore) -> None:
    claim = await claimed(store)
    assert (
        await store.progress(claim, step=2, total=4, data={"phase": "denoise"}, lease_s=9) is False
    )
    state = (await store.get("p", "a")).state
    assert (state.step, state.total_steps) == (2, 4)
    assert (await store.events("a"))[-1].data == {"phase": "denoise", "step": 2, "total": 4}
    with pytest.raises(ValueError, match="JSON compliant"):
        await store.progress(claim, step=2, total=4, data={"loss": float("nan")}, lease_s=9)


async def test_a_completed_job(store: JobStore) -> None:
    claim = await claimed(store)
    await store.complete(claim, RESULT, 3600)
    state = (await store.get("p", "a")).state
    assert (state.status, state.result, state.worker) == ("completed", RESULT, None)
    assert state.completed_at is not None
    assert state.expires_at == state.completed_at + 3600
    assert (await store.running(), await store.count("p")) == (0, 0)
    assert await store.claim("a", "w", 60) is None
    await store.complete(claim, RESULT, 3600)  # sent again after a lost answer
    with pytest.raises(LeaseLost):
        await store.fail(claim, OOM)
    assert [event.type for event in await store.events("a")].count("completed") == 1


async def test_a_failed_job(store: JobStore) -> None:
    claim = await claimed(store)
    await store.fail(claim, OOM)
    state = (await store.get("p", "a")).state
    assert (state.status, state.error, state.result) == ("failed", OOM, None)
    assert state.completed_at is not None
    assert state.expires_at == state.completed_at + 60  # as submitted
    assert (await store.events("a"))[-1].data == OOM.model_dump()
    assert await store.dead() == []
    await store.fail(claim, OOM)


async def test_a_drain_is_not_an_attempt(store: JobStore) -> None:
    for _ in range(5):
        claim = await claimed(store)
        assert claim.job.state.attempts == 1
        await store.progress(claim, step=3, total=4, data={}, lease_s=60)
        await store.release(claim)
        await store.release(claim)  # sent again after a lost answer
    state = (await store.get("p", "a")).state
    assert (state.status, state.attempts, state.step, state.worker) == ("queued", 0, 0, None)
    assert len(await store.read("c", 10)) == 1


async def test_failed_attempts_are_capped(store: JobStore) -> None:
    for attempt in (1, 2):
        claim = await claimed(store)
        assert claim.job.state.attempts == attempt
        await store.release(claim, CRASH)
        assert (await store.get("p", "a")).state.status == "queued"
    await store.release(await claimed(store), OOM)
    state = (await store.get("p", "a")).state
    assert (state.status, state.error, state.attempts) == ("failed", OOM, 3)
    (letter,) = await store.dead()
    assert (letter.video_id, letter.error) == ("a", OOM)
    assert await store.read("c", 10) == []


@pytest.mark.parametrize("told", [True, False], ids=["dispatcher saw it", "nobody saw it"])
async def test_workers_that_vanish_are_capped(
    store: JobStore, redis: Redis, prefix: str, told: bool
) -> None:
    for _ in range(3):
        claim = await claimed(store)
        if told:
            assert await store.forfeit("a", "w", CRASH) is True
        else:
            await expire(store, claim, redis, prefix)
    assert await store.claim("a", "w", 60) is None
    state = (await store.get("p", "a")).state
    assert state.status == "failed"
    assert state.error is not None
    assert state.error.code == ("worker_lost" if told else "generation_failed")
    assert [letter.video_id for letter in await store.dead()] == ["a"]
    assert (await store.running(), await store.count("p")) == (0, 0)


async def test_the_last_known_error_is_the_one_shown(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    await store.release(await claimed(store), OOM)
    for _ in range(2):  # then workers vanish without a word
        await expire(store, await claimed(store), redis, prefix)
    assert await store.claim("a", "w", 60) is None
    assert (await store.get("p", "a")).state.error == OOM


async def test_only_the_holders_lease_is_forfeit(store: JobStore) -> None:
    assert await store.forfeit("a", "w", CRASH) is False
    claim = await claimed(store)
    assert await store.forfeit("a", "other", CRASH) is False
    assert await store.claim("a", "other", 60) is None
    await store.heartbeat(claim, 60)


async def test_a_cancelled_job_is_not_run_again(store: JobStore, redis: Redis, prefix: str) -> None:
    claim = await claimed(store)
    await store.request_cancel("p", "a")
    await expire(store, claim, redis, prefix)
    assert await store.claim("a", "heir", 60) is None
    state = (await store.get("p", "a")).state
    assert state.error is not None
    assert (state.status, state.error.code) == ("failed", "cancelled")


@pytest.mark.parametrize("error", [None, OOM])
async def test_a_cancelled_job_is_not_handed_back(store: JobStore, error: JobError | None) -> None:
    claim = await claimed(store)
    await store.request_cancel("p", "a")
    await store.release(claim, error)
    state = (await store.get("p", "a")).state
    assert state.error is not None
    assert (state.status, state.error.code) == ("failed", "cancelled")


async def test_what_does_not_exist_is_not_claimed(store: JobStore) -> None:
    assert await store.claim("none", "w", 60) is None


async def test_a_job_keeps_its_newest_previews(store: JobStore, redis: Redis, prefix: str) -> None:
    """Over all attempts; its other events stay."""
    picture = "x" * (20 << 10)
    sizes: list[int | None] = []
    for attempt in (1, 2):
        claim = await claimed(store)
        for step in range(1, 21):
            await store.progress(claim, step=step, total=20, data={}, lease_s=60)
            data = {"jpeg": picture}
            await store.progress(claim, step=step, total=20, data=data, lease_s=60, event="preview")
            if step == 8:
                sizes.append(await redis.memory_usage(f"{prefix}:events:a"))
        if attempt == 1:
            await store.release(claim)
    events = await store.events("a")
    assert [e.data["step"] for e in events if e.type == "preview"] == list(range(13, 21))
    assert [e.type for e in events].count("progress") == 40
    assert events[-1].type == "preview"
    size = await redis.memory_usage(f"{prefix}:events:a")
    assert size is not None
    assert sizes[0] is not None
    assert size < 1.2 * sizes[0]
