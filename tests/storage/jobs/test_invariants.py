"""Whatever happens in whatever order, no accepted job is lost, none is in two places."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas.errors import InvalidRequest, NotFound
from schemas.jobs import PRIORITIES, JobError, Priority
from storage.jobs.jobs import Jobs
from storage.jobs.records import Claim, Delivery, LeaseLost
from tests.storage.specs import RESULT, make_spec

CRASH = JobError(code="worker_lost", message="the worker stopped")
STEPS = 600


class Chaos:
    """Clients, dispatchers and workers that do anything at any time, zombies among them."""

    def __init__(self, jobs: Jobs, redis: Redis, prefix: str, seed: int) -> None:
        self.jobs, self.redis, self.prefix = jobs, redis, prefix
        self.random = random.Random(seed)
        self.ids: list[str] = []
        self.claims: list[Claim] = []
        self.deliveries: list[Delivery] = []

    async def step(self) -> None:
        acts: list[Callable[[], Awaitable[object]]] = [
            *[self.submit, self.read, self.claim, self.claim, self.write, self.write],
            *[self.expire, self.cancel, self.delete, self.retry, self.reclaim, self.ack],
            *[self.let_go, self.pause],
        ]
        with contextlib.suppress(NotFound, InvalidRequest, LeaseLost):  # what a caller may meet
            await self.random.choice(acts)()

    async def submit(self) -> None:
        new = [
            make_spec(
                f"v{len(self.ids) + i}",
                priority=self.random.choice(PRIORITIES),
                start_timeout_s=self.random.choice((None, 3600)),
            )
            for i in range(self.random.randint(1, 3))
        ]
        self.ids += [spec.id for spec in new]
        await self.jobs.store.submit(new)

    def any_id(self) -> str:
        return self.random.choice(self.ids or ["none"])

    async def read(self) -> None:
        self.deliveries += await self.jobs.queue.read(self.random.choice("ab"), 3)

    async def reclaim(self) -> None:
        self.deliveries += await self.jobs.queue.reclaim(self.random.choice("ab"), 0)

    async def ack(self) -> None:
        if self.deliveries:
            await self.jobs.queue.ack(self.random.choice(self.deliveries))

    async def let_go(self) -> None:
        if self.deliveries:
            await self.jobs.queue.let_go(self.random.choice(self.deliveries))

    async def pause(self) -> None:
        change = self.random.choice((self.jobs.maintenance.pause, self.jobs.maintenance.resume))
        await change("tiny")

    async def claim(self) -> None:
        claim = await self.jobs.claims.claim(self.any_id(), "w", 60)
        self.claims += [claim] if claim else []

    async def write(self) -> None:
        if not self.claims:
            return
        claim = self.random.choice(self.claims)  # it may have lost its job long ago
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: self.jobs.claims.heartbeat(claim, 60),
            lambda: self.jobs.claims.progress(claim, step=1, total=2, data={}, lease_s=60),
            lambda: self.jobs.claims.complete(claim, RESULT, 60),
            lambda: self.jobs.claims.fail(claim, CRASH),
            lambda: self.jobs.claims.release(claim),
            lambda: self.jobs.claims.release(claim, CRASH),
            lambda: self.jobs.claims.release(claim, CRASH, our_fault=True),
        ]
        await self.random.choice(writes)()

    async def expire(self) -> None:
        await self.jobs.queue.forfeit(self.any_id(), "w", CRASH)

    async def cancel(self) -> None:
        await self.jobs.store.request_cancel("p", self.any_id())

    async def delete(self) -> None:
        if self.random.random() < 0.3:
            await self.jobs.store.delete("p", self.any_id())

    async def retry(self) -> None:
        await self.jobs.maintenance.retry(self.any_id())

    async def check(self) -> None:
        found, more = await self.jobs.store.list("p", after=None, limit=1000, order="asc")
        assert not more
        is_open = [job for job in found if job.state.status in ("queued", "in_progress")]
        running = {job.spec.id for job in found if job.state.status == "in_progress"}
        assert await self.members("open:p") == {job.spec.id for job in is_open}
        leased: Any = await self.redis.zrange(f"{self.prefix}:running", 0, -1)
        assert {video_id.decode() for video_id in leased} == running
        for priority in PRIORITIES:
            mine = [job for job in is_open if job.spec.priority == priority]
            waiting = {job.spec.id for job in mine} - running
            assert await self.members(f"waiting:{priority}") == waiting
            entries: Any = await self.redis.xrange(f"{self.prefix}:queue:{priority}")
            line = f"{self.prefix}:line:{priority}:p:tiny"
            in_line: Any = await self.redis.zrange(line, 0, -1)
            delayed: Any = await self.redis.zrange(f"{self.prefix}:delayed", 0, -1)
            places = [*(fields[b"id"] for _, fields in entries), *in_line, *delayed]
            ids = {job.spec.id for job in mine}
            assert sorted(ids & {place.decode() for place in places}) == sorted(ids)
            assert len(entries) + len(in_line) <= len(mine), "a job is in two places"
            assert bool(in_line) == await self.is_in_rota(priority)
        for job in found:
            ended = job.state.result is not None or job.state.error is not None
            assert ended == (job.state.status in ("completed", "failed"))

    async def is_in_rota(self, priority: Priority) -> bool:
        return await self.redis.zscore(f"{self.prefix}:rota:{priority}", "p") is not None

    async def members(self, key: str) -> set[str]:
        found: Any = await self.redis.smembers(f"{self.prefix}:{key}")
        return {video_id.decode() for video_id in found}


@pytest.mark.parametrize("seed", range(5))
async def test_no_job_is_lost(jobs: Jobs, redis: Redis, prefix: str, seed: int) -> None:
    chaos = Chaos(jobs, redis, prefix, seed)
    for step in range(STEPS):
        await chaos.step()
        if step % 20 == 0:
            await chaos.check()

    # then all processes die but one of each kind, which must see every job to its end
    await jobs.maintenance.resume("tiny")
    await redis.zunionstore(f"{prefix}:delayed", {f"{prefix}:delayed": 0})  # their time is over
    for video_id in chaos.ids:
        await jobs.queue.forfeit(video_id, "w", CRASH)
    while held := [*await jobs.queue.reclaim("last", 0), *await jobs.queue.read("last", 50)]:
        for delivery in held:
            if claim := await jobs.claims.claim(delivery.video_id, "last", 60):
                await jobs.claims.complete(claim, RESULT, 60)
            assert await jobs.queue.ack(delivery)
    await chaos.check()
    found, _ = await jobs.store.list("p", after=None, limit=1000, order="asc")
    assert {job.state.status for job in found} == {"completed", "failed"}
    for priority in PRIORITIES:
        assert (await redis.xpending(f"{prefix}:queue:{priority}", "dispatchers"))["pending"] == 0
