"""The events of jobs, on a real Valkey."""

import asyncio

import pytest
from redis.asyncio import Redis

from schemas.errors import InvalidRequest
from storage.jobs.jobs import Jobs
from tests.storage.specs import RESULT, make_spec


async def test_events_resume_where_the_reader_was(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.claims.progress(claim, step=1, total=4, data={"phase": "denoise"}, lease_s=60)
    await jobs.claims.progress(
        claim, step=1, total=4, data={"key": "previews/1"}, lease_s=60, event="preview"
    )
    first, second, *rest = await jobs.events.read("a")
    assert (first.type, second.type, second.data) == ("queued", "started", {"attempt": 1})
    assert await jobs.events.read("a", after=second.id) == rest
    assert rest[0].data == {"phase": "denoise", "step": 1, "total": 4}
    assert [event.type for event in rest] == ["progress", "preview"]

    waiting = asyncio.create_task(jobs.events.read("a", after=rest[-1].id, block_ms=10_000))
    await jobs.claims.complete(claim, RESULT, None)
    (last,) = await waiting
    assert (last.type, last.data) == ("completed", {})
    assert await jobs.events.read("a", after=last.id, block_ms=1) == []


async def test_all_events_are_more_than_one_read(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    for step in range(1, 301):
        await jobs.claims.progress(claim, step=step, total=300, data={}, lease_s=60)
    await jobs.claims.complete(claim, RESULT, None)
    assert len(await jobs.events.read("a")) < 303
    types = [event.type for event in await jobs.events.read_all("a")]
    assert types == ["queued", "started", *["progress"] * 300, "completed"]


@pytest.mark.parametrize("after", ["x", "", "1-2-3", "$", "1-", "²", "9" * 30])
async def test_an_event_id_that_is_none_is_refused(jobs: Jobs, after: str) -> None:
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        await jobs.events.read("a", after=after)


async def test_events_of_an_ended_job_expire(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.store.submit([make_spec("a")])
    assert await redis.ttl(f"{prefix}:events:a") == -1
    await jobs.store.request_cancel("p", "a")
    assert 3500 < await redis.ttl(f"{prefix}:events:a") <= 3600


async def test_a_job_keeps_its_newest_previews(jobs: Jobs, redis: Redis, prefix: str) -> None:
    """Over all attempts; its other events stay."""
    picture = "x" * (20 << 10)
    sizes: list[int | None] = []
    await jobs.store.submit([make_spec("a")])
    for attempt in (1, 2):
        claim = await jobs.claims.claim("a", "w", 60)
        assert claim is not None
        for step in range(1, 21):
            await jobs.claims.progress(claim, step=step, total=20, data={}, lease_s=60)
            data = {"jpeg": picture}
            await jobs.claims.progress(
                claim, step=step, total=20, data=data, lease_s=60, event="preview"
            )
            if step == 8:
                sizes.append(await redis.memory_usage(f"{prefix}:events:a"))
        if attempt == 1:
            await jobs.claims.release(claim)
    events = await jobs.events.read("a")
    assert [e.data["step"] for e in events if e.type == "preview"] == list(range(13, 21))
    assert [e.type for e in events].count("progress") == 40
    assert events[-1].type == "preview"
    size = await redis.memory_usage(f"{prefix}:events:a")
    assert size is not None
    assert sizes[0] is not None
    assert size < 1.2 * sizes[0]
