"""Who is next: projects in turn, places in the queue, paused models, start time-outs."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from schemas.jobs import JobSpec
from storage.jobs.jobs import Jobs
from tests.storage.specs import RESULT, make_spec


def of(project: str, count: int) -> list[JobSpec]:
    return [make_spec(f"{project}{i}", project) for i in range(count)]


def of_model(video_id: str, model: str) -> JobSpec:
    spec = make_spec(video_id)
    generation = spec.recipe.generation.model_copy(update={"model": model})
    recipe = spec.recipe.model_copy(update={"generation": generation})
    return spec.model_copy(update={"recipe": recipe})


async def taken(jobs: Jobs, capacity: int = 100) -> list[str]:
    return [held.video_id for held in await jobs.queue.read("c", capacity)]


async def test_projects_take_turns(jobs: Jobs) -> None:
    await jobs.store.submit(of("a", 50))
    await jobs.store.submit(of("b", 3))
    assert await taken(jobs, 8) == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "a4"]


async def test_who_comes_and_goes_gains_nothing(jobs: Jobs) -> None:
    await jobs.store.submit(of("a", 50))
    served: Counter[str] = Counter()
    for turn in range(20):
        await jobs.store.submit([make_spec(f"b{turn}", "b")])  # always one, never a line
        served.update(video_id[0] for video_id in await taken(jobs, 2))
    assert served == {"a": 20, "b": 20}


async def test_places_are_as_jobs_are_taken(jobs: Jobs) -> None:
    await jobs.store.submit(of("a", 4))
    await jobs.store.submit(of("b", 2))
    await taken(jobs, 1)  # a0: a dispatcher has it, and no worker yet
    ids = ["a0", "a1", "a2", "a3", "b0", "b1"]
    places = dict(zip(ids, await jobs.store.queue_positions(ids), strict=True))
    order = ["a0", *await taken(jobs)]
    assert sorted(ids, key=lambda each: places[each] or 0) == order
    assert [places[each] for each in order] == [1, 2, 3, 4, 5, 6]


async def test_what_is_not_queued_has_no_place(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a"), make_spec("b")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.store.request_cancel("p", "b")
    assert await jobs.store.queue_positions(["a", "b", "none"]) == [None, None, None]
    assert await jobs.store.queue_positions([]) == []


async def test_a_handed_back_job_keeps_its_place(jobs: Jobs) -> None:
    await jobs.store.submit(of("a", 3))
    assert await taken(jobs, 1) == ["a0"]
    claim = await jobs.claims.claim("a0", "w", 60)
    assert claim is not None
    await jobs.claims.release(claim)
    assert await taken(jobs) == ["a0", "a1", "a2"]


async def test_a_job_that_nobody_began_can_be_let_go(jobs: Jobs) -> None:
    await jobs.store.submit(of("a", 3))
    first, second = await jobs.queue.read("leaving", 2)
    assert await jobs.claims.claim("a0", "w", 60)
    assert await jobs.queue.let_go(first) is False
    assert await jobs.queue.let_go(second) is True
    assert await jobs.queue.let_go(second) is False
    assert await jobs.queue.ack(second) is True
    assert await taken(jobs) == ["a1", "a2"]


async def test_a_paused_model_starts_no_jobs(jobs: Jobs) -> None:
    specs = [of_model(f"{model}{i}", model) for i in range(2) for model in ("x", "y")]
    await jobs.store.submit(specs)
    (held,) = await jobs.queue.read("c", 1)
    await jobs.maintenance.pause("x")
    assert await jobs.maintenance.list_paused() == ["x"]
    assert await jobs.claims.claim(held.video_id, "w", 60) is None  # not even one that was taken
    assert await jobs.queue.ack(held) is True
    assert await taken(jobs) == ["y0", "y1"]
    waiting = asyncio.create_task(jobs.queue.read("c", 10, block_ms=5_000))
    await jobs.maintenance.resume("x")
    assert [each.video_id for each in await waiting] == ["x0", "x1"]


async def test_a_job_of_a_paused_model_that_runs_goes_on(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.maintenance.pause("tiny")
    assert await jobs.claims.heartbeat(claim, 60) is False
    await jobs.claims.complete(claim, RESULT)


async def test_a_job_that_did_not_start_in_time_fails(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    await jobs.store.submit(
        [make_spec(each, start_timeout_s=60) for each in ("late", "begun", "asked later")]
    )
    claim = await jobs.claims.claim("begun", "w", 60)
    assert claim is not None
    assert await redis.zcard(f"{prefix}:start_by") == 2
    await redis.zadd(f"{prefix}:start_by", {"late": 1})  # as if the time had passed
    assert await jobs.maintenance.end_overdue() == 1
    state = (await jobs.store.get("p", "late")).state
    assert state.error is not None
    assert (state.status, state.error.code) == ("failed", "start_timeout")
    await jobs.claims.release(claim)  # it did start in time
    assert await jobs.maintenance.end_overdue() == 0
    assert await taken(jobs) == ["begun", "asked later"]


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
async def test_what_an_earlier_version_queued_is_taken(
    jobs: Jobs, redis: Redis, prefix: str, priority: str
) -> None:
    """It put an entry into the stream at once, and its records have neither model nor place."""
    await jobs.store.submit([make_spec("old", priority=priority), make_spec("new")])
    await redis.delete(f"{prefix}:line:{priority}:p:tiny", f"{prefix}:lines:{priority}:p")
    await redis.zrem(f"{prefix}:rota:{priority}", "p")
    entry = await redis.xadd(f"{prefix}:queue:{priority}", {"id": "old"})
    await redis.hset(f"{prefix}:job:old", "entry", entry)
    await redis.hdel(f"{prefix}:job:old", "model", "place")
    assert await jobs.store.queue_positions(["old"]) == [1]
    (held,) = [each for each in await jobs.queue.read("c", 10) if each.video_id == "old"]
    assert await jobs.queue.let_go(held) is True
    assert "old" in await taken(jobs)
