"""Jobs as a project sees them: accepted, read, listed, cancelled, deleted.

Every write is one Lua script, so each is whole or not at all, whatever dies in between, and can
be sent twice. Times are Redis' own clock. One Redis (with replicas), not a cluster.
"""

from collections.abc import Sequence
from typing import Any, Literal

from redis.asyncio import Redis

from schemas.errors import IdempotencyMismatch, InvalidRequest, NotFound, RateLimited
from schemas.jobs import Job, JobKind, JobSpec, Status
from storage.jobs.records import (
    CANCELLED,
    EVENT_TTL_S,
    artifact_not_found,
    job_from,
    job_not_found,
    job_of,
    spec_json,
)
from storage.lua import Scripts

LIST_MAX = 1000
_PASSED_OVER_MAX = 1000  # jobs that one call of a filtered list looks at
DAY_S = 86_400
_IDEMPOTENCY_TTL_S = DAY_S  # as long as the usual client may retry
_CURSOR_TTL_S = DAY_S  # how long a deleted id still works as ``after``


class JobStore:
    """The jobs of all projects, for the API.

    ``redis``: a client from ``open_redis``; trouble that outlasts its retries comes as
    ``redis.RedisError``.
    """

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def submit(
        self,
        specs: Sequence[JobSpec],
        *,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        max_open: int | None = None,
    ) -> list[Job]:
        """Accept jobs of one project, all or none; they are durable and queued on return.

        A key seen before with the same ``body_hash`` gives the jobs it stands for, without those
        deleted since; with another hash: IdempotencyMismatch. Ids seen before are accepted only
        once. More than ``max_open`` jobs of the project queued or running with these: RateLimited.
        """
        (project,) = {spec.project for spec in specs}
        return await self._submit(project, specs, idempotency_key, body_hash, max_open)

    async def find_accepted(self, project: str, idempotency_key: str, body_hash: str) -> list[Job]:
        """The jobs that a key stands for; none if it is new. Raises IdempotencyMismatch."""
        return await self._submit(project, (), idempotency_key, body_hash, None)

    async def _submit(
        self,
        project: str,
        specs: Sequence[JobSpec],
        idempotency_key: str | None,
        body_hash: str | None,
        max_open: int | None,
    ) -> list[Job]:
        arguments: list[str | int] = [
            project, idempotency_key or "", body_hash or "", _IDEMPOTENCY_TTL_S,
            "" if max_open is None else max_open,
        ]  # fmt: skip
        for spec in specs:
            retention = "" if spec.retention_s is None else spec.retention_s
            arguments += [spec.id, spec_json(spec), spec.priority, retention, listed_in(spec.kind)]
        outcome, *rest = await self._scripts.run("submit", *arguments)
        if outcome == b"mismatch":
            raise IdempotencyMismatch(
                "Idempotency-Key: this key was used with another request body; "
                "a new request needs a new key"
            )
        if outcome == b"full":
            raise _too_many(rest[0], max_open)
        if outcome == b"taken":
            raise ValueError(f"job id {rest[0].decode()!r} is another project's")
        return [job_of(record) for record in rest]

    async def submit_map(self, spec: JobSpec, *, retry_s: float, max_open: int | None) -> Job:
        """Accept a map job, or return the one of this id, in whatever state that is.

        One that failed ``retry_s`` ago or longer is queued again. A map job is in no list of
        videos, and is deleted with its artifact. Raises NotFound where that is not listed, and
        RateLimited.
        """
        assert spec.look is not None
        outcome, *rest = await self._scripts.run(
            "submit_map",
            spec.project,
            spec.look.artifact_id,
            spec.id,
            spec_json(spec),
            spec.priority,
            "" if spec.retention_s is None else spec.retention_s,
            "" if max_open is None else max_open,
            str(retry_s),
        )
        if outcome == b"full":
            raise _too_many(rest[0], max_open)
        if outcome == b"gone":
            raise artifact_not_found(spec.look.artifact_id)
        return job_of(rest[0])

    async def get(self, project: str, video_id: str) -> Job:
        """In one round trip. Raises NotFound, also for another project's id."""
        record: Any = await self._redis.hgetall(f"{self._prefix}:job:{video_id}")
        if record.get(b"project") != project.encode():
            raise job_not_found(video_id)
        return job_from(record)

    async def look(self, project: str, video_id: str) -> tuple[Job, int | None]:
        """The job and its place in the queue, as ``queue_positions`` says, in one round trip.
        Raises NotFound as ``get``."""
        place, flat = await self._scripts.run("look", video_id)
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        if record.get(b"project") != project.encode():
            raise job_not_found(video_id)
        return job_from(record), place or None

    async def queue_positions(self, video_ids: Sequence[str]) -> Sequence[int | None]:
        """Of each job its place among the queued ones of its priority: 1 is next. None: it is not
        queued. Projects take turns, so a later job of another project may go first."""
        if not video_ids:
            return []
        return [place or None for place in await self._scripts.run("position", *video_ids)]

    async def request_cancel(self, project: str, video_id: str) -> Job:
        """Cancel a job: queued, it ends at once; running, at its worker's next step; an ended one
        stays as it is. Raises NotFound."""
        record = await self._scripts.run(
            "cancel", project, video_id, CANCELLED.model_dump_json(), EVENT_TTL_S
        )
        if not record:
            raise job_not_found(video_id)
        return job_of(record)

    async def delete(self, project: str, video_id: str) -> Job:
        """Delete a job, its events and its place in every list; returns the job as it was.

        The caller deletes its objects. A worker that runs it gets LeaseLost. Raises NotFound.
        """
        record = await self._scripts.run("delete", project, video_id, _CURSOR_TTL_S)
        if not record:
            raise job_not_found(video_id)
        return job_of(record)

    async def list(
        self,
        project: str,
        *,
        after: str | None,
        limit: int,
        order: Literal["asc", "desc"],
        kind: JobKind = "video",
        status: Status | None = None,
        model: str | None = None,
    ) -> tuple[Sequence[Job], bool]:
        """A page of a project's videos, or analyses, in the order they were accepted, and whether
        more follow.

        ``after``: the last id of the page before; it may have been deleted since. Raises
        NotFound for an id that was never the project's. Costs the same however many jobs there are.
        ``status``, ``model``: only those; then it costs as much as the jobs that it passes over,
        which Redis looks at in several short calls.
        """
        if not 1 <= limit <= LIST_MAX:
            raise InvalidRequest(
                f"limit: {limit} is not allowed; allowed is 1 to {LIST_MAX}", param="limit"
            )
        if after is not None and after.startswith("#"):  # the script's own mark
            raise NotFound(f"after: no {kind} {after!r}", param="after")
        filtered = status is not None or model is not None
        count = limit + filtered  # whether a further one fits is only known by finding it
        jobs: list[Job] = []
        start, more = after or "", True
        while more and len(jobs) < count:
            page = await self._scripts.run(
                "list", project, start, count - len(jobs), order, listed_in(kind),
                status or "", model or "", _PASSED_OVER_MAX,
            )  # fmt: skip
            if not page:
                raise NotFound(f"after: no {kind} {after!r}", param="after")
            more, start = bool(page[0]), page[1].decode()
            jobs += [job_of(record) for record in page[2:]]
        return jobs[:limit], len(jobs) > limit if filtered else more


def listed_in(kind: JobKind) -> str:
    """The list of a project that jobs of this kind stand in; map jobs are in none."""
    return {"video": "videos", "analysis": "analyses"}[kind]


def _too_many(open_jobs: int, allowed: int | None) -> RateLimited:
    return RateLimited(
        f"{open_jobs} jobs of this project are queued or running; allowed are {allowed}",
        code="too_many_jobs",
        retry_after_s=5,
    )
