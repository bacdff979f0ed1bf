"""What every API process does beside answering: webhooks, expiry, telling metrics what ended.

Each chore runs until it is cancelled; one that fails is started again after a pause, and any number
of processes may run them at once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from schemas.errors import NotFound
from service.background.job_outcome import JobOutcome, outcome_of
from storage.jobs.job_store import JobStore
from storage.objects.objects import ObjectStoreError
from storage.outbox import Ended, Outbox

log = logging.getLogger("retake.service")
RESTART_S = 2.0
CANCEL_AGAIN_S = 1.0
BLOCK_MS = 2000
AT_ONCE = 64
TAKE_OVER_MS = 60_000

PeriodicTask = Callable[[], Awaitable[None]]


class PeriodicTasks:
    """Runs chores beside the server; leaving stops them."""

    def __init__(self, chores: Sequence[PeriodicTask]) -> None:
        self._chores = chores
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(_again_and_again(chore)) for chore in self._chores]

    async def stop(self) -> None:
        """Cancel until all have ended: a client in which a time-out fires at the same moment
        reports that, and the cancellation is lost."""
        left = set(self._tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


async def _again_and_again(chore: PeriodicTask) -> None:
    while True:
        try:
            await chore()
        except (RedisError, ObjectStoreError) as error:
            log.warning("a chore stopped (%s); it goes on shortly", type(error).__name__)
        except Exception:  # a fault of ours must not end webhooks and expiry for good
            log.exception("a chore failed; it goes on shortly")
        await asyncio.sleep(RESTART_S)


Listener = Callable[[JobOutcome], Awaitable[None]]


async def tell_ended(jobs: JobStore, outbox: Outbox, listeners: Sequence[Listener]) -> None:
    """Tell every listener of each job that ends, at least once."""
    await outbox.open()
    while True:
        for ended in await outbox.reclaim(TAKE_OVER_MS, AT_ONCE):
            await _tell(jobs, outbox, ended, listeners)
        for ended in await outbox.read(AT_ONCE, BLOCK_MS):
            await _tell(jobs, outbox, ended, listeners)


async def _tell(
    jobs: JobStore, outbox: Outbox, ended: Ended, listeners: Sequence[Listener]
) -> None:
    with contextlib.suppress(NotFound):  # deleted since
        outcome = await outcome_of(jobs, await jobs.get(ended.project, ended.video_id))
        for listener in listeners:
            await listener(outcome)
    await outbox.ack(ended)
