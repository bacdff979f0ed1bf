"""Jobs that have ended, with the times that their events hold: for webhooks, metrics and traces."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from schemas.errors import NotFound
from schemas.jobs import Job
from storage.jobs.job_events import JobEvents
from storage.jobs.job_store import JobStore
from storage.outbox import Ended, Outbox

BLOCK_MS = 2000
MAX_AT_ONCE = 64
TAKE_OVER_MS = 60_000


class JobOutcome(NamedTuple):
    """Unix milliseconds. ``started_ms``: None for a job that no worker took.

    ``step_ms``: the mean time between two steps of the last attempt; None without two of them.
    """

    job: Job
    queued_ms: int
    started_ms: int | None
    ended_ms: int
    step_ms: float | None

    @property
    def kind(self) -> str:
        return self.job.spec.label

    @property
    def outcome(self) -> str:
        """``completed``, or the code of the error."""
        return self.job.state.error.code if self.job.state.error else "completed"


async def outcome_of(events: JobEvents, job: Job) -> JobOutcome:
    """From the job's events while they are kept, else from its record, in whole seconds."""
    kept = await events.read_all(job.spec.id)
    started = [event for event in kept if event.type == "started"]
    if not kept or kept[-1].type not in ("completed", "failed"):
        state = job.state
        return JobOutcome(
            job,
            queued_ms=1000 * job.spec.created_at,
            started_ms=1000 * state.started_at if state.started_at else None,
            ended_ms=1000 * (state.completed_at or job.spec.created_at),
            step_ms=None,
        )
    began = started[-1].at_ms if started else None
    steps = [e.at_ms for e in kept if e.type == "progress" and began and e.at_ms >= began]
    gaps = [after - before for before, after in pairwise(steps)]
    return JobOutcome(
        job,
        queued_ms=kept[0].at_ms,
        started_ms=started[0].at_ms if started else None,
        ended_ms=kept[-1].at_ms,
        step_ms=sum(gaps) / len(gaps) if gaps else None,
    )


Listener = Callable[[JobOutcome], Awaitable[None]]


class OutcomeReader:
    """Tells every listener of each job that ends, at least once."""

    def __init__(
        self, jobs: JobStore, events: JobEvents, outbox: Outbox, listeners: Sequence[Listener]
    ) -> None:
        self._jobs, self._events = jobs, events
        self._outbox, self._listeners = outbox, listeners

    async def run(self) -> None:
        """Until cancelled. Raises RedisError: run it again."""
        await self._outbox.open()
        while True:
            for ended in await self._outbox.reclaim(TAKE_OVER_MS, MAX_AT_ONCE):
                await self._tell(ended)
            for ended in await self._outbox.read(MAX_AT_ONCE, BLOCK_MS):
                await self._tell(ended)

    async def _tell(self, ended: Ended) -> None:
        with contextlib.suppress(NotFound):  # deleted since
            job = await self._jobs.get(ended.project, ended.video_id)
            outcome = await outcome_of(self._events, job)
            for listener in self._listeners:
                await listener(outcome)
        await self._outbox.ack(ended)
