"""The parts of the job store, opened together on one Redis.

Whoever opens them gives each to what may use it: the API reads and cancels jobs, a dispatcher gets
the queue, a worker its claims.
"""

from dataclasses import dataclass

from redis.asyncio import Redis

from storage.jobs.claims import Claims
from storage.jobs.job_events import JobEvents
from storage.jobs.job_store import JobStore
from storage.jobs.maintenance import Maintenance
from storage.jobs.model_registry import ModelRegistry
from storage.jobs.queue import JobQueue


@dataclass(frozen=True)
class Jobs:
    """``store``: for the API. ``queue``: for dispatchers. ``claims``: for workers."""

    store: JobStore
    queue: JobQueue
    claims: Claims
    events: JobEvents
    maintenance: Maintenance
    models: ModelRegistry


def open_jobs(
    redis: Redis, *, prefix: str = "retake", max_attempts: int = 3, generation: int = 0
) -> Jobs:
    """Nothing is sent before the first call of a part. ``max_attempts``: as in ``Claims``,
    ``generation``: as in ``JobQueue``."""
    return Jobs(
        store=JobStore(redis, prefix=prefix),
        queue=JobQueue(redis, prefix=prefix, generation=generation),
        claims=Claims(redis, prefix=prefix, max_attempts=max_attempts),
        events=JobEvents(redis, prefix=prefix),
        maintenance=Maintenance(redis, prefix=prefix),
        models=ModelRegistry(redis, prefix=prefix, generation=generation),
    )
