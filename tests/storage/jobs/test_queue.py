"""The dispatchers' side of the job store: who gets which job, and that none is lost."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from schemas.jobs import PRIORITIES, Priority
from storage.jobs.job_store import Delivery, JobStore
from storage.jobs.queue import turns_of
from tests.storage.specs import RESULT, make_spec

IDLE_NEVER_MS = 3_600_000


async def fill(store: JobStore, priority: Priority, count: int) -> None:
    await store.submit(
        [make_spec(f"{priority}{i}", priority=priority) for i in range(count)] if count else []
    )


async def finish(store: JobStore, video_id: str) -> None:
    claim = await store.claim(video_id, "w", 60)
    assert claim is not None
    await store.complete(claim, RESULT, None)


def names(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.video_id for delivery in deliveries]


async def test_a_job_is_delivered_once_in_order(store: JobStore) -> None:
    specs = [make_spec(f"v{i}") for i in range(5)]
    await store.submit(specs)
    first = await store.read("c1", 2)
    second = await store.read("c2", 10)
    assert [delivery.spec for delivery in [*first, *second]] == specs
    assert names(first) == ["v0", "v1"]
    assert first[0].stream == "normal"
    assert await store.read("c1", 10) == []
    assert await store.read("c1", 0) == []


async def test_deliveries_are_told_apart(store: JobStore) -> None:
    """Accepted in one script, so in one millisecond: the streams' own ids are the same."""
    await store.submit([make_spec(priority, priority=priority) for priority in PRIORITIES])
    held = await store.read("c", 10)
    assert len({delivery.entry_id for delivery in held}) == 3
    await finish(store, "high")
    assert [await store.ack(delivery) for delivery in held] == [True, False, False]
    assert await store.keep_alive("c", held) == held[:1]


async def test_every_priority_has_its_share(store: JobStore) -> None:
    for priority in PRIORITIES:
        await fill(store, priority, 60)
    got: Counter[str] = Counter()
    for _ in range(20):
        got.update([delivery.stream for delivery in await store.read("c", 5)])
    assert got == {"high": 60, "normal": 30, "low": 10}
    rest = Counter(delivery.stream for delivery in await store.read("c", 100))
    assert rest == {"normal": 30, "low": 50}  # what is empty leaves its turns to the others


async def test_shares_hold_across_small_reads_and_dispatchers(store: JobStore) -> None:
    for priority in PRIORITIES:
        await fill(store, priority, 30)
    got: Counter[str] = Counter()
    for turn in range(30):
        (delivery,) = await store.read(f"c{turn % 3}", 1)
        got[delivery.stream] += 1
    assert got == {"high": 18, "normal": 9, "low": 3}


def test_turns_are_spread() -> None:
    assert turns_of((6, 3, 1)) == "1211213121"
    assert turns_of((1, 1, 1)) == "123"
    for wrong in ((1, 2), (1, 0, 1)):
        with pytest.raises(ValueError, match="weights"):
            turns_of(wrong)


async def test_a_waiting_reader_wakes(store: JobStore) -> None:
    for priority in PRIORITIES:
        waiting = asyncio.create_task(store.read("c", 10, block_ms=20_000))
        await store.submit([make_spec(f"new-{priority}", priority=priority)])
        assert names(await asyncio.wait_for(waiting, 10)) == [f"new-{priority}"]
    assert await store.read("c", 10, block_ms=1) == []


async def test_entries_of_ended_and_deleted_jobs_are_dropped(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    await store.submit([make_spec(name) for name in ("cancelled", "deleted", "done", "wanted")])
    await store.request_cancel("p", "cancelled")
    await store.delete("p", "deleted")
    await finish(store, "done")
    assert await redis.xlen(f"{prefix}:queue:normal") == 1  # they went with their jobs
    # and, as no script leaves them, one whose record is lost and one of a job queued anew
    await redis.xadd(f"{prefix}:queue:normal", {"id": "ghost"})
    await redis.xadd(f"{prefix}:queue:normal", {"id": "wanted"})
    assert names(await store.read("c", 10)) == ["wanted"]
    assert await redis.xlen(f"{prefix}:queue:normal") == 1


async def test_ack_keeps_what_its_job_still_needs(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    await store.submit([make_spec("a")])
    (delivery,) = await store.read("c", 1)
    assert await store.ack(delivery) is False  # queued
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    assert await store.ack(delivery) is False  # running
    await store.complete(claim, RESULT, None)
    assert await store.ack(delivery) is True
    assert await store.ack(delivery) is True
    assert await redis.xlen(f"{prefix}:queue:normal") == 0
    assert (await redis.xpending(f"{prefix}:queue:normal", "dispatchers"))["pending"] == 0


async def test_a_silent_dispatcher_loses_its_entries(store: JobStore) -> None:
    await store.submit([make_spec(f"v{i}") for i in range(3)])
    held = await store.read("dead", 2)
    assert await store.reclaim("heir", IDLE_NEVER_MS) == []
    assert await store.keep_alive("dead", held) == []
    taken = await store.reclaim("heir", 0)
    assert taken == held
    assert await store.keep_alive("dead", held) == held  # it woke: they are not its own now
    assert await store.keep_alive("heir", taken) == []
    assert names(await store.read("heir", 10)) == ["v2"]


async def test_keep_alive_is_what_keeps(store: JobStore, redis: Redis, prefix: str) -> None:
    await store.submit([make_spec("a")])
    held = await store.read("c", 1)
    queue = f"{prefix}:queue:normal"
    over = IDLE_NEVER_MS + 1
    await redis.xclaim(queue, "dispatchers", "c", 0, [held[0].place[1]], idle=over, justid=True)
    await store.keep_alive("c", held)
    assert await store.reclaim("heir", IDLE_NEVER_MS) == []
    await redis.xclaim(queue, "dispatchers", "c", 0, [held[0].place[1]], idle=over, justid=True)
    assert await store.reclaim("heir", IDLE_NEVER_MS) == held


async def test_idle_entries_behind_many_busy_ones_are_found(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    await fill(store, "low", 300)
    held = await store.read("c", 300)
    await redis.xclaim(
        f"{prefix}:queue:low", "dispatchers", "c", 0, [held[-1].place[1]], idle=60_000, justid=True
    )
    assert await store.reclaim("heir", 50_000, limit=4) == held[-1:]


async def test_reclaim_drops_what_is_done(store: JobStore) -> None:
    await store.submit([make_spec("a"), make_spec("b")])
    await store.read("c", 2)
    await finish(store, "a")
    assert names(await store.reclaim("heir", 0)) == ["b"]


async def test_consumers_long_gone_are_forgotten(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    async def consumers() -> set[bytes]:
        listed = await redis.xinfo_consumers(f"{prefix}:queue:normal", "dispatchers")
        return {info["name"] for info in listed}

    await store.submit([make_spec("a")])
    await store.read("gone", 1)
    await redis.xgroup_createconsumer(f"{prefix}:queue:normal", "dispatchers", "idle")
    await store.reclaim("heir", IDLE_NEVER_MS)
    assert await consumers() == {b"gone", b"idle", b"heir"}
    await store.reclaim("heir", 0)
    assert await consumers() == {b"heir"}


async def test_a_handed_back_job_is_delivered_again(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    await store.submit([make_spec("a")])
    (held,) = await store.read("c", 1)
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    await store.release(claim)
    assert await redis.xlen(f"{prefix}:queue:normal") == 1
    (again,) = await store.read("c2", 10)
    assert (again.video_id, again.entry_id == held.entry_id) == ("a", False)
    assert await store.ack(held) is True  # the old entry; the new one stays
    assert await store.keep_alive("c2", [again]) == []
    assert await store.depths() == {"high": 0, "normal": 1, "low": 0}


async def test_readers_that_race_share(store: JobStore) -> None:
    await fill(store, "normal", 100)
    got = await asyncio.gather(*(store.read(f"c{i}", 7) for i in range(20)))
    everyone = [name for deliveries in got for name in names(deliveries)]
    assert sorted(everyone) == sorted(f"normal{i}" for i in range(100))
