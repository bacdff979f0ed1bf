"""Jobs that have ended, each read at least once by whoever must act on it: webhooks, metrics.

Redis' scripts put every ended job into one stream; API processes read it as one consumer group, so
each entry goes to one process, and to another if that one dies.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

GROUP = "service"


class Ended(NamedTuple):
    """One ended job. ``entry_id``: to acknowledge it by."""

    entry_id: str
    project: str
    video_id: str


class Outbox:
    """``consumer``: this process's own unique name."""

    def __init__(self, redis: Redis, consumer: str, *, prefix: str = "retake") -> None:
        self._redis, self._consumer = redis, consumer
        self._stream = f"{prefix}:finished"

    async def open(self) -> None:
        """Create the group, reading from the oldest entry; an existing group is no error."""
        try:
            await self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, limit: int, block_ms: int) -> Sequence[Ended]:
        """Entries that no process has; waits up to ``block_ms`` for a first."""
        found: Any = await self._redis.xreadgroup(
            GROUP, self._consumer, {self._stream: ">"}, count=limit, block=block_ms or None
        )
        return [_parse(*entry) for _, entries in found or () for entry in entries]

    async def reclaim(self, idle_ms: int, limit: int) -> Sequence[Ended]:
        """Entries that a process took at least ``idle_ms`` ago and never acknowledged."""
        found: Any = await self._redis.xautoclaim(
            self._stream, GROUP, self._consumer, idle_ms, count=limit
        )
        return [_parse(*entry) for entry in found[1] if entry[1]]

    async def ack(self, ended: Ended) -> None:
        """Remove an entry that was handled."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(self._stream, GROUP, ended.entry_id)
            pipe.xdel(self._stream, ended.entry_id)
            await pipe.execute()

    async def close(self) -> None:
        """Leave the group, unless entries of ours are open: another process takes those over."""
        pending: Any = await self._redis.xpending_range(
            self._stream, GROUP, "-", "+", 1, consumername=self._consumer
        )
        if not pending:
            await self._redis.xgroup_delconsumer(self._stream, GROUP, self._consumer)


def _parse(entry_id: bytes, fields: dict[bytes, bytes]) -> Ended:
    return Ended(entry_id.decode(), fields[b"project"].decode(), fields[b"id"].decode())
