"""What ends a job that goes on losing its workers, or the stores that it needs."""

import pytest
from redis.asyncio import Redis

from storage.jobs.claims import MAX_FAULTS
from storage.jobs.jobs import Jobs
from tests.storage.jobs.test_claims import CRASH, OOM, claimed, expire
from tests.storage.specs import RESULT, make_spec


@pytest.fixture(autouse=True)
async def job(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a", retention_s=60)])


@pytest.mark.parametrize("told", [True, False], ids=["dispatcher saw it", "nobody saw it"])
async def test_workers_that_vanish_are_capped(
    jobs: Jobs, redis: Redis, prefix: str, told: bool
) -> None:
    for _ in range(4):  # the first is not held against the job
        claim = await claimed(jobs)
        if told:
            assert await jobs.queue.forfeit("a", "w", CRASH) is True
        else:
            await expire(jobs, claim, redis, prefix)
    assert await jobs.claims.claim("a", "w", 60) is None
    state = (await jobs.store.get("p", "a")).state
    assert state.status == "failed"
    assert state.error is not None
    assert state.error.code == ("worker_lost" if told else "generation_failed")
    assert [letter.video_id for letter in await jobs.maintenance.list_dead()] == ["a"]
    assert (await jobs.maintenance.count_running(), await jobs.maintenance.count_open("p")) == (
        0,
        0,
    )


async def lose(jobs: Jobs, step: int) -> None:
    """A worker takes the job, makes so many steps, and is killed."""
    claim = await claimed(jobs)
    if step:
        await jobs.claims.progress(claim, step=step, total=99, data={}, lease_s=60)
    assert await jobs.queue.forfeit("a", "w", CRASH)


async def test_kills_from_outside_do_not_bury_a_job(jobs: Jobs) -> None:
    for step in (30, 4, 71, 12, 55, 90):
        await lose(jobs, step)
    await jobs.claims.complete(await claimed(jobs), RESULT, None)
    assert await jobs.maintenance.list_dead() == []


async def test_a_job_that_kills_at_one_step_is_buried(jobs: Jobs) -> None:
    for step in (7, 6, 7, 7):  # the last step before a crash is not always told
        await lose(jobs, step)
    assert await jobs.claims.claim("a", "w", 60) is None
    assert [letter.video_id for letter in await jobs.maintenance.list_dead()] == ["a"]


async def test_a_job_that_kills_wherever_it_is_gets_buried_too(jobs: Jobs) -> None:
    for step in range(0, 120, 10):
        await lose(jobs, step)
    assert await jobs.claims.claim("a", "w", 60) is None
    assert [letter.video_id for letter in await jobs.maintenance.list_dead()] == ["a"]


async def test_a_fault_of_ours_is_no_attempt_and_waits(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    delays = []
    for _ in range(8):
        claim = await claimed(jobs)
        await jobs.claims.release(claim, OOM, our_fault=True)
        await jobs.claims.release(claim, OOM, our_fault=True)  # sent again after a lost answer
        assert await jobs.queue.read("c", 10) == []
        seconds, microseconds = await redis.time()
        due = await redis.zscore(f"{prefix}:delayed", "a")
        assert due is not None
        delays.append(round((due - 1000 * seconds - microseconds / 1000) / 1000))
        await redis.zadd(f"{prefix}:delayed", {"a": 0})  # as if the time had passed
        (held,) = await jobs.queue.read("c", 10)
        assert held.video_id == "a"
    assert delays == sorted(delays)
    assert delays[-1] == 60
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.attempts) == ("queued", 0)


async def test_faults_of_ours_do_not_go_on_for_ever(jobs: Jobs) -> None:
    for _ in range(MAX_FAULTS):
        await jobs.claims.release(await claimed(jobs), OOM, our_fault=True)
    state = (await jobs.store.get("p", "a")).state
    assert (state.status, state.error) == ("failed", OOM)
    assert [letter.video_id for letter in await jobs.maintenance.list_dead()] == ["a"]


async def test_the_last_known_error_is_the_one_shown(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.claims.release(await claimed(jobs), OOM)
    for _ in range(3):  # then workers vanish without a word
        await expire(jobs, await claimed(jobs), redis, prefix)
    assert await jobs.claims.claim("a", "w", 60) is None
    assert (await jobs.store.get("p", "a")).state.error == OOM
