"""Each job's events: read, and waited for."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from schemas.errors import InvalidRequest
from schemas.jobs import Event
from storage.connect import BLOCK_MS_MAX
from storage.jobs.records import event_of

_EVENTS_PER_READ = 256


class JobEvents:
    """The event streams of all jobs; claims and the scripts write them."""

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix

    async def read(self, video_id: str, *, after: str = "0", block_ms: int = 0) -> list[Event]:
        """The next events after the id ``after``; waits up to ``block_ms`` for a first one.

        Raises InvalidRequest for an ``after`` that is no event id.
        """
        stream = f"{self._prefix}:events:{video_id}"
        block = min(block_ms, BLOCK_MS_MAX) or None  # Redis takes 0 for "for ever"
        found: Any = await self._redis.xread(
            {stream: check_event_id(after)}, count=_EVENTS_PER_READ, block=block
        )
        return [event_of(entry, fields) for _, entries in found for entry, fields in entries]

    async def read_all(self, video_id: str) -> list[Event]:
        """Every event that is still kept, in order."""
        events: list[Event] = []
        while more := await self.read(video_id, after=events[-1].id if events else "0"):
            events += more
        return events

    async def read_newer(self, after: Mapping[str, str], *, block_ms: int) -> dict[str, str]:
        """Of the jobs in ``after`` (job id: last event seen), those with a later event, and its id.

        Waits up to ``block_ms`` for one. So a single connection follows any number of jobs.
        """
        start = f"{self._prefix}:events:"
        streams: dict[Any, Any] = {start + video_id: seen for video_id, seen in after.items()}
        found: Any = await self._redis.xread(
            streams, count=_EVENTS_PER_READ, block=min(block_ms, BLOCK_MS_MAX) or None
        )
        return {key.decode().removeprefix(start): entries[-1][0].decode() for key, entries in found}


def check_event_id(text: str) -> str:
    """``text`` if it is a stream id, such as an SSE client's Last-Event-ID; else InvalidRequest."""
    parts = text.split("-")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and len(p) <= 19 for p in parts):
        raise InvalidRequest(
            f"Last-Event-ID: {text[:64]!r} is not allowed; allowed is the id of an event",
            param="Last-Event-ID",
        )
    return text
