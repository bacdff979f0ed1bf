"""What a dispatcher does with the queue: read entries, keep them, take them over, acknowledge.

Jobs wait in lines, one for each priority, project and model; a read takes those whose turn it is
into the stream of their priority. An entry of a stream stays until its job has ended or was queued
anew, so a dispatcher may die at any point.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.jobs import PRIORITIES, JobError
from storage.connect import BLOCK_MS_MAX
from storage.jobs.records import Delivery, delivery_of
from storage.lua import Scripts

WEIGHTS = (6, 3, 1)  # shares of high, normal and low priority while all have jobs waiting


class JobQueue:
    """The queue of all projects. A consumer is a dispatcher's own unique name.

    ``weights``: as ``WEIGHTS``; ValueError unless there are three numbers from 1.
    ``generation``: of the dispatcher; it gets no more jobs once a worker of a later one is there.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str = "retake",
        weights: Sequence[int] = WEIGHTS,
        generation: int = 0,
    ) -> None:
        self._redis, self._prefix, self._generation = redis, prefix, generation
        self._scripts = Scripts(redis, prefix)
        self._turns = turns_of(weights)

    async def read(self, consumer: str, capacity: int, *, block_ms: int = 0) -> Sequence[Delivery]:
        """Up to ``capacity`` jobs that no dispatcher holds, by the weights; within a priority
        projects take turns, and models that are paused are passed over.

        Waits up to ``block_ms`` for a first. Entries of deleted and ended jobs are acknowledged
        on the way.
        """
        if capacity < 1:
            return []
        marks, *found = await self._read(consumer, capacity)
        if not found and block_ms:
            streams = [f"{self._prefix}:queue:{priority}" for priority in PRIORITIES]
            streams.append(f"{self._prefix}:wake")
            # returns at once if an entry came after the script looked
            newer = await self._redis.xread(
                dict(zip(streams, marks, strict=True)), count=1, block=min(block_ms, BLOCK_MS_MAX)
            )
            if newer:
                _, *found = await self._read(consumer, capacity)
        return [delivery_of(entry) for entry in found]

    async def _read(self, consumer: str, capacity: int) -> Any:
        return await self._scripts.run("read", consumer, capacity, self._turns, self._generation)

    async def keep_alive(self, consumer: str, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Say that these are still worked on. Returns those that are no longer the consumer's own:
        another dispatcher took them over, or their job has ended."""
        if not deliveries:
            return []
        pairs = [text for held in deliveries for text in held.place]
        own = await self._scripts.run("keep_alive", consumer, *pairs)
        return [held for held, is_own in zip(deliveries, own, strict=True) if not is_own]

    async def reclaim(self, consumer: str, idle_ms: int, *, limit: int = 64) -> Sequence[Delivery]:
        """Take over entries that nobody kept alive for ``idle_ms``.

        Stops at the scan step that reaches ``limit``, so it may return a few more.
        """
        found = await self._scripts.run("reclaim", consumer, idle_ms, limit, self._generation)
        return [delivery_of(entry) for entry in found]

    async def ack(self, delivery: Delivery) -> bool:
        """Drop an entry whose job has ended, was deleted or queued anew. False: it stays.

        False after a worker's call returned means that another worker holds the lease, or that
        the worker died: keep the entry, try again later.
        """
        return bool(await self._scripts.run("ack", *delivery.place, delivery.video_id))

    async def let_go(self, delivery: Delivery) -> bool:
        """Give a job that no worker has begun back into its line, for another dispatcher.

        False: it is running, has ended, or is not queued under this entry any more.
        """
        return bool(await self._scripts.run("let_go", *delivery.place, delivery.video_id))

    async def list_lapsed(self, limit: int = 1000) -> Sequence[str]:
        """Ids of running jobs whose lease is over: their worker hangs, or lost its connection."""
        return [video_id.decode() for video_id in await self._scripts.run("lapsed", limit)]

    async def forfeit(self, video_id: str, worker: str, error: JobError) -> bool:
        """End the lease of a worker known to be dead, so that the next claim need not wait for it.

        ``error`` is what the job fails with if no attempt is left. False: the lease is not that
        worker's.
        """
        return bool(await self._scripts.run("forfeit", video_id, worker, error.model_dump_json()))


def turns_of(weights: Sequence[int]) -> str:
    """Which priority goes first, turn by turn: weights 6, 3, 1 give "1" six times of ten, evenly.

    Smooth weighted round robin as nginx does it: each turn adds every weight to its owner's
    credit, the largest credit goes and pays the sum.
    """
    if len(weights) != len(PRIORITIES) or min(weights) < 1:
        raise ValueError(f"weights: {weights!r} is not allowed; allowed are three numbers from 1")
    credit, total, turns = [0] * len(weights), sum(weights), ""
    for _ in range(total):
        credit = [have + more for have, more in zip(credit, weights, strict=True)]
        first = credit.index(max(credit))
        credit[first] -= total
        turns += str(first + 1)
    return turns
