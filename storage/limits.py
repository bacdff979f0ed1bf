"""What a project may use: requests a minute, jobs at once, bytes stored. Kept in Redis, so that all
API processes count together."""

from typing import Annotated, Any, NamedTuple

from pydantic import Field
from redis.asyncio import Redis

from schemas.base import Frozen
from storage.lua import Scripts

Limit = Annotated[int, Field(ge=0)]


class ProjectLimits(Frozen):
    """0: without limit. For a project's own, None: the server's default.

    ``max_analysis_cost``: of one analysis, in generations of its sources.
    """

    requests_per_minute: Limit | None = None
    max_open_jobs: Limit | None = None
    max_stored_bytes: Limit | None = None
    max_analysis_cost: Limit | None = None


class Admission(NamedTuple):
    """The outcome of counting one request. ``limit`` 0: there is none.

    ``wait_s`` above 0: refused, for that many seconds. ``reset_s``: seconds until the whole
    allowance is available again.
    """

    limit: int
    remaining: int
    wait_s: float
    reset_s: float


class Limits:
    """``defaults``: for what a project has no limit of its own."""

    def __init__(self, redis: Redis, defaults: ProjectLimits, *, prefix: str = "retake") -> None:
        self._redis, self._prefix, self._defaults = redis, prefix, defaults
        self._scripts = Scripts(redis, prefix)

    async def admit(self, project: str) -> Admission:
        """Count a request of ``project``; one round trip."""
        default = self._defaults.requests_per_minute or 0
        limit, remaining, wait_ms, reset_ms = await self._scripts.run("admit", project, default)
        return Admission(limit, remaining, wait_ms / 1000, reset_ms / 1000)

    async def of(self, project: str) -> ProjectLimits:
        """The limits that hold for ``project``."""
        found: Any = await self._redis.hgetall(f"{self._prefix}:limits:{project}")
        own = {name.decode(): int(value) for name, value in found.items()}
        return self._defaults.model_copy(update=own)

    async def set(self, project: str, limits: ProjectLimits) -> None:
        """Give ``project`` limits of its own; what is None there is the default's again."""
        name = f"{self._prefix}:limits:{project}"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(name)
            for limit, value in limits.model_dump(exclude_none=True).items():
                pipe.hset(name, limit, value)
            await pipe.execute()

    async def stored_bytes(self, project: str) -> int:
        """Bytes of the project's videos, attention artifacts, analyses and uploads."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for kind in ("video_bytes", "artifact_bytes", "analysis_bytes", "upload_bytes"):
                pipe.hget(f"{self._prefix}:{kind}", project)
            return sum(int(size or 0) for size in await pipe.execute())
