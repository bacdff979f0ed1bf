"""A job that has ended, with the times that its events tell: for metrics and traces."""

from itertools import pairwise
from typing import NamedTuple

from schemas.jobs import Job
from storage.jobs.job_store import JobStore


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
        if self.job.spec.look is not None:
            return "map"
        return "edit" if self.job.spec.recipe.source else "generation"

    @property
    def outcome(self) -> str:
        """``completed``, or the code of the error."""
        return self.job.state.error.code if self.job.state.error else "completed"


async def outcome_of(jobs: JobStore, job: Job) -> JobOutcome:
    """From the job's events where they are still kept, else from its record, in whole seconds."""
    events = await jobs.all_events(job.spec.id)
    started = [event for event in events if event.type == "started"]
    if not events or events[-1].type not in ("completed", "failed"):
        state = job.state
        return JobOutcome(
            job,
            queued_ms=1000 * job.spec.created_at,
            started_ms=1000 * state.started_at if state.started_at else None,
            ended_ms=1000 * (state.completed_at or job.spec.created_at),
            step_ms=None,
        )
    began = started[-1].at_ms if started else None
    steps = [e.at_ms for e in events if e.type == "progress" and began and e.at_ms >= began]
    gaps = [after - before for before, after in pairwise(steps)]
    return JobOutcome(
        job,
        queued_ms=events[0].at_ms,
        started_ms=started[0].at_ms if started else None,
        ended_ms=events[-1].at_ms,
        step_ms=sum(gaps) / len(gaps) if gaps else None,
    )
