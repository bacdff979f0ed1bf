"""The dispatchers' side of the job store: who gets which job, and that none is lost."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from schemas.jobs import PRIORITIES, Priority
from storage.jobs.jobs import Jobs
from storage.jobs.queue import turns_of
from storage.jobs.records import Delivery
from tests.storage.specs import RESULT, make_spec

IDLE_NEVER_MS = 3_600_000


async def fill(jobs: Jobs, priority: Priority, count: int) -> None:
    await jobs.store.submit(
        [make_spec(f"{priority}{i}", priority=priority) for i in range(count)] if count else []
    )


async def finish(jobs: Jobs, video_id: str) -> None:
    claim = await jobs.claims.claim(video_id, "w", 60)
    assert claim is not None
    await jobs.claims.complete(claim, RESULT, None)


def names(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.video_id for delivery in deliveries]


async def test_a_job_is_delivered_once_in_order(jobs: Jobs) -> None:
    specs = [make_spec(f"v{i}") for i in range(5)]
    await jobs.store.submit(specs)
    first = await jobs.queue.read("c1", 2)
    second = await jobs.queue.read("c2", 10)
    assert [delivery.spec for delivery in [*first, *second]] == specs
    assert names(first) == ["v0", "v1"]
    assert first[0].stream == "normal"
    assert await jobs.queue.read("c1", 10) == []
    assert await jobs.queue.read("c1", 0) == []


async def test_deliveries_are_told_apart(jobs: Jobs) -> None:
    """Accepted in one script, so in one millisecond: the streams' own ids are the same."""
    await jobs.store.submit([make_spec(priority, priority=priority) for priority in PRIORITIES])
    held = await jobs.queue.read("c", 10)
    assert len({delivery.entry_id for delivery in held}) == 3
    await finish(jobs, "high")
    assert [await jobs.queue.ack(delivery) for delivery in held] == [True, False, False]
    assert await jobs.queue.keep_alive("c", held) == held[:1]


async def test_every_priority_has_its_share(jobs: Jobs) -> None:
    for priority in PRIORITIES:
        await fill(jobs, priority, 60)
    got: Counter[str] = Counter()
    for _ in range(20):
        got.update([delivery.stream for delivery in await jobs.queue.read("c", 5)])
    assert got == {"high": 60, "normal": 30, "low": 10}
    rest = Counter(delivery.stream for delivery in await jobs.queue.read("c", 100))
    assert rest == {"normal": 30, "low": 50}  # what is empty leaves its turns to the others


async def test_shares_hold_across_small_reads_and_dispatchers(jobs: Jobs) -> None:
    for priority in PRIORITIES:
        await fill(jobs, priority, 30)
    got: Counter[str] = Counter()
    for turn in range(30):
        (delivery,) = await jobs.queue.read(f"c{turn % 3}", 1)
        got[delivery.stream] += 1
    assert got == {"high": 18, "normal": 9, "low": 3}


def test_turns_are_spread() -> None:
    assert turns_of((6, 3, 1)) == "1211213121"
    assert turns_of((1, 1, 1)) == "123"
    for wrong in ((1, 2), (1, 0, 1)):
        with pytest.raises(ValueError, match="weights"):
            turns_of(wrong)


async def test_a_waiting_reader_wakes(jobs: Jobs) -> None:
    for priority in PRIORITIES:
        waiting = asyncio.create_task(jobs.queue.read("c", 10, block_ms=20_000))
        await jobs.store.submit([make_spec(f"new-{priority}", priority=priority)])
        assert names(await asyncio.wait_for(waiting, 10)) == [f"new-{priority}"]
    assert await jobs.queue.read("c", 10, block_ms=1) == []


async def test_entries_of_ended_and_deleted_jobs_are_dropped(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    await jobs.store.submit(
        [make_spec(name) for name in ("cancelled", "deleted", "done", "wanted")]
    )
    await jobs.store.request_cancel("p", "cancelled")
    await jobs.store.delete("p", "deleted")
    await finish(jobs, "done")
    line = await redis.zrange(f"{prefix}:line:normal:p:tiny", 0, -1)
    assert line == [b"wanted"]  # the others went with their jobs
    # and, as no script leaves them, one whose record is lost and one of a job queued anew
    await redis.xadd(f"{prefix}:queue:normal", {"id": "ghost"})
    await redis.xadd(f"{prefix}:queue:normal", {"id": "wanted"})
    assert names(await jobs.queue.read("c", 10)) == ["wanted"]
    assert await redis.xlen(f"{prefix}:queue:normal") == 1


async def test_ack_keeps_what_its_job_still_needs(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.store.submit([make_spec("a")])
    (delivery,) = await jobs.queue.read("c", 1)
    assert await jobs.queue.ack(delivery) is False  # queued
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    assert await jobs.queue.ack(delivery) is False  # running
    await jobs.claims.complete(claim, RESULT, None)
    assert await jobs.queue.ack(delivery) is True
    assert await jobs.queue.ack(delivery) is True
    assert await redis.xlen(f"{prefix}:queue:normal") == 0
    assert (await redis.xpending(f"{prefix}:queue:normal", "dispatchers"))["pending"] == 0


async def test_a_silent_dispatcher_loses_its_entries(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec(f"v{i}") for i in range(3)])
    held = await jobs.queue.read("dead", 2)
    assert await jobs.queue.reclaim("heir", IDLE_NEVER_MS) == []
    assert await jobs.queue.keep_alive("dead", held) == []
    taken = await jobs.queue.reclaim("heir", 0)
    assert taken == held
    assert await jobs.queue.keep_alive("dead", held) == held  # it woke: they are not its own now
    assert await jobs.queue.keep_alive("heir", taken) == []
    assert names(await jobs.queue.read("heir", 10)) == ["v2"]


async def test_keep_alive_is_what_keeps(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.store.submit([make_spec("a")])
    held = await jobs.queue.read("c", 1)
    queue = f"{prefix}:queue:normal"
    over = IDLE_NEVER_MS + 1
    await redis.xclaim(queue, "dispatchers", "c", 0, [held[0].place[1]], idle=over, justid=True)
    await jobs.queue.keep_alive("c", held)
    assert await jobs.queue.reclaim("heir", IDLE_NEVER_MS) == []
    await redis.xclaim(queue, "dispatchers", "c", 0, [held[0].place[1]], idle=over, justid=True)
    assert await jobs.queue.reclaim("heir", IDLE_NEVER_MS) == held


async def test_idle_entries_behind_many_busy_ones_are_found(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    await fill(jobs, "low", 300)
    held = await jobs.queue.read("c", 300)
    await redis.xclaim(
        f"{prefix}:queue:low", "dispatchers", "c", 0, [held[-1].place[1]], idle=60_000, justid=True
    )
    assert await jobs.queue.reclaim("heir", 50_000, limit=4) == held[-1:]


async def test_reclaim_drops_what_is_done(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a"), make_spec("b")])
    await jobs.queue.read("c", 2)
    await finish(jobs, "a")
    assert names(await jobs.queue.reclaim("heir", 0)) == ["b"]


async def test_consumers_long_gone_are_forgotten(jobs: Jobs, redis: Redis, prefix: str) -> None:
    async def consumers() -> set[bytes]:
        listed = await redis.xinfo_consumers(f"{prefix}:queue:normal", "dispatchers")
        return {info["name"] for info in listed}

    await jobs.store.submit([make_spec("a")])
    await jobs.queue.read("gone", 1)
    await redis.xgroup_createconsumer(f"{prefix}:queue:normal", "dispatchers", "idle")
    await jobs.queue.reclaim("heir", IDLE_NEVER_MS)
    assert await consumers() == {b"gone", b"idle", b"heir"}
    await jobs.queue.reclaim("heir", 0)
    assert await consumers() == {b"heir"}


async def test_a_handed_back_job_is_delivered_again(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.store.submit([make_spec("a")])
    (held,) = await jobs.queue.read("c", 1)
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.claims.release(claim)
    assert await redis.xlen(f"{prefix}:queue:normal") == 0
    (again,) = await jobs.queue.read("c2", 10)
    assert (again.video_id, again.entry_id == held.entry_id) == ("a", False)
    assert await jobs.queue.ack(held) is True  # the old entry; the new one stays
    assert await jobs.queue.let_go(held) is False
    assert await jobs.queue.keep_alive("c2", [again]) == []
    assert await jobs.maintenance.queue_depths() == {"high": 0, "normal": 1, "low": 0}


async def test_readers_that_race_share(jobs: Jobs) -> None:
    await fill(jobs, "normal", 100)
    got = await asyncio.gather(*(jobs.queue.read(f"c{i}", 7) for i in range(20)))
    everyone = [name for deliveries in got for name in names(deliveries)]
    assert sorted(everyone) == sorted(f"normal{i}" for i in range(100))
