"""Conditions that tests of jobs wait for."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from schemas.jobs import Event, Job
from storage.jobs.jobs import Jobs
from storage.objects.objects import ObjectStore

DEADLINE_S = 60.0


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, within_s: float = DEADLINE_S
) -> None:
    """Wait for ``condition``; fails after a minute, or so many seconds."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.02)


async def ended(jobs: Jobs, video_id: str, within_s: float = DEADLINE_S) -> Job:
    """The job once it has ended."""

    async def done() -> bool:
        return (await jobs.store.get("tests", video_id)).state.status in ("completed", "failed")

    await until(done, f"{video_id} ends", within_s)
    return await jobs.store.get("tests", video_id)


async def stepped(jobs: Jobs, video_id: str) -> None:
    """Wait until the job has published a step."""

    async def begun() -> bool:
        return any(event.type == "progress" for event in await jobs.events.read(video_id))

    await until(begun, f"{video_id} makes a step")


async def events_of(jobs: Jobs, video_id: str) -> list[Event]:
    return await jobs.events.read_all(video_id)


def release(objects: ObjectStore, video_id: str) -> None:
    """Let a job go on that holds."""
    objects.put(f"release/{video_id}", b"")
