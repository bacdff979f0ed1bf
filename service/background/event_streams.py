"""Following jobs: their events one by one, or just their end.

However many clients follow, one connection listens: it wakes those whose job has a new event, and
each reads on from where it is.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator

from redis.exceptions import RedisError

from schemas.errors import NotFound, RateLimited
from schemas.jobs import Event, Job
from storage.jobs.job_events import JobEvents
from storage.jobs.job_store import JobStore

log = logging.getLogger("retake.service")
ENDED = ("completed", "failed")
# A job that is followed from now on is listened to after at most this long
BLOCK_MS = 200
BATCH_S = 0.02  # events that come together wake their readers together
RETRY_S = 1.0


class EventStreams:
    """All clients that follow a job through this process, at most ``limit`` at once."""

    def __init__(self, jobs: JobStore, events: JobEvents, limit: int) -> None:
        self._jobs, self._events, self._limit = jobs, events, limit
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, str] = {}
        self._count = 0
        self._listening: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def check(self) -> None:
        """Raise RateLimited if no more may follow; asked before an answer is begun."""
        if self._count >= self._limit:
            raise RateLimited("too many clients follow jobs through this server; poll instead")

    async def follow(
        self, job: Job, after: str, keep_alive_s: float
    ) -> AsyncIterator[Event | None]:
        """The events of ``job`` later than ``after`` up to its end; None when nothing happens.

        A job whose events are no longer kept yields its end alone, made from its record. Ends too
        when the job is deleted or the server stops; a client then comes back with the last id it
        saw.
        """
        with self._watch(job.spec.id) as news:
            while not self._closed:
                news.clear()
                try:
                    events = await self._events.read(job.spec.id, after=after)
                    if not events and job.state.status not in ENDED:
                        if await _wait(news, keep_alive_s):
                            continue
                        yield None
                        job = await self._jobs.get(job.spec.project, job.spec.id)
                        continue
                except NotFound:
                    return
                except RedisError:  # the answer is under way: better late than broken off
                    yield None
                    await asyncio.sleep(RETRY_S)
                    continue
                for event in events or [end_of(job, after)]:
                    after = event.id
                    yield event
                    if event.type in ENDED:
                        return

    async def wait_for_end(self, job: Job, seconds: float) -> Job:
        """``job`` as soon as it has ended, or as it is after ``seconds``. Raises NotFound."""
        project, video_id = job.spec.project, job.spec.id
        deadline = time.monotonic() + seconds
        with self._watch(video_id) as news:
            while True:
                news.clear()
                job = await self._jobs.get(project, video_id)
                if job.state.status in ENDED or self._closed:
                    return job
                if not await _wait(news, max(0.0, deadline - time.monotonic())):
                    return await self._jobs.get(project, video_id)

    async def close(self) -> None:
        """End every stream and wait, so that the server can stop."""
        self._closed = True
        for video_id in list(self._waiting):
            self._wake(video_id)
        if self._listening is not None:
            await asyncio.wait([self._listening])

    @contextlib.contextmanager
    def _watch(self, video_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job may have a new entry in its stream."""
        news = asyncio.Event()
        self._count += 1
        self._waiting.setdefault(video_id, set()).add(news)
        self._seen.setdefault(video_id, "0")
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield news
        finally:
            self._count -= 1
            self._waiting[video_id].discard(news)
            if not self._waiting[video_id]:
                del self._waiting[video_id], self._seen[video_id]

    async def _listen(self) -> None:
        while self._waiting and not self._closed:
            try:
                news = await self._events.read_newer(self._seen, block_ms=BLOCK_MS)
            except RedisError:
                log.warning("following jobs: redis does not answer")
                await asyncio.sleep(RETRY_S)
                continue
            for video_id, last in news.items():
                if video_id in self._seen:
                    self._seen[video_id] = last
                    self._wake(video_id)
            await asyncio.sleep(BATCH_S)
        self._listening = None

    def _wake(self, video_id: str) -> None:
        for news in self._waiting[video_id]:
            news.set()


async def _wait(news: asyncio.Event, seconds: float) -> bool:
    """Whether ``news`` was set within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True


def has_seen_end(job: Job, after: str) -> bool:
    """Whether a client whose last event is ``after`` has seen the end of an ended job.

    Asked of the record, not of the events: they may be gone, an hour after the end or when the
    server's clock jumps, and the client has not seen their last.
    """
    return job.state.end_event is not None and _order(after) >= _order(job.state.end_event)


def _order(event_id: str) -> tuple[int, int]:
    at_ms, _, number = event_id.partition("-")
    return int(at_ms), int(number or 0)


def end_of(job: Job, event_id: str) -> Event:
    """The last event of an ended job, from its record; ``event_id`` where that has no id."""
    error = job.state.error
    data: dict[str, object] = dict(error) if error else {}
    kind = "failed" if error else "completed"
    event_id = job.state.end_event or event_id
    return Event.model_validate({"id": event_id, "type": kind, "data": data})
