"""The jobs as a whole: counted for metrics, expired by the sweeper, retried by an operator, who may
also pause the jobs of a model."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.errors import InvalidRequest
from schemas.jobs import PRIORITIES, Job, JobError, Priority
from storage.jobs.records import (
    EVENT_TTL_S,
    START_TIMEOUT,
    DeadLetter,
    job_not_found,
    job_of,
)
from storage.lua import Scripts


class Maintenance:
    """Of the jobs of all projects."""

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def count_open(self, project: str) -> int:
        """How many jobs of a project are queued or running."""
        return int(await self._redis.scard(f"{self._prefix}:open:{project}"))

    async def queue_depths(self) -> dict[Priority, int]:
        """How many jobs wait, by priority."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for priority in PRIORITIES:
                pipe.scard(f"{self._prefix}:waiting:{priority}")
            return dict(zip(PRIORITIES, await pipe.execute(), strict=True))

    async def count_running(self) -> int:
        """How many jobs are claimed, their lease over or not."""
        return int(await self._redis.zcard(f"{self._prefix}:running"))

    async def end_overdue(self) -> int:
        """Fail the queued jobs whose ``start_timeout_s`` is over; how many, at most 100 a call."""
        error = START_TIMEOUT.model_dump_json()
        return int(await self._scripts.run("overdue", error, EVENT_TTL_S))

    async def pause(self, model: str) -> None:
        """Start no more jobs of a model, known or not; those that run go on."""
        await self._call("SADD", model)

    async def resume(self, model: str) -> None:
        """Start jobs of the model again."""
        await self._call("SREM", model)
        # dispatchers that wait for a job look again
        await self._redis.xadd(f"{self._prefix}:wake", {"id": ""}, maxlen=1, approximate=False)

    async def list_paused(self) -> Sequence[str]:
        """Ids of the paused models."""
        return sorted(model.decode() for model in await self._call("SMEMBERS"))

    async def _call(self, command: str, *models: str) -> Any:
        name = f"{self._prefix}:paused"
        return await self._redis.execute_command(command, name, *models)  # type: ignore[no-untyped-call]  # redis

    async def list_expired(self, limit: int = 100) -> Sequence[Job]:
        """Ended jobs past ``expires_at``, oldest first, whose objects and records are to go."""
        return [job_of(record) for record in await self._scripts.run("expired", limit)]

    async def list_dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        """Jobs that ran out of attempts, newest first."""
        entries: Any = await self._redis.xrevrange(f"{self._prefix}:dead", count=limit)
        return [
            DeadLetter(
                fields[b"id"].decode(),
                int(entry.split(b"-")[0]) / 1000,
                JobError.model_validate_json(fields[b"error"]),
            )
            for entry, fields in entries
        ]

    async def retry(self, video_id: str) -> Job:
        """Queue a failed job again with all its attempts. Raises NotFound, InvalidRequest."""
        reply = await self._scripts.run("retry", video_id)
        if not reply:
            raise job_not_found(video_id)
        if reply[0] != b"failed":
            raise InvalidRequest(
                f"id: {video_id} is {reply[0].decode()}; only a failed job can be retried",
                param="id",
            )
        return job_of(reply[1])
