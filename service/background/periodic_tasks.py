"""What every API process does beside answering requests, restarted whenever it fails.

Each task runs until it is cancelled; one that fails is started again after a pause. Any number of
processes may run the same tasks at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import RedisError

from storage.objects.objects import ObjectStoreError

log = logging.getLogger("retake.service")
RESTART_S = 2.0
CANCEL_AGAIN_S = 1.0

PeriodicTask = Callable[[], Awaitable[None]]


class PeriodicTasks:
    """Runs tasks beside the server from ``start`` to ``stop``."""

    def __init__(self, tasks: Sequence[PeriodicTask]) -> None:
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._running = [asyncio.create_task(_run_for_ever(task)) for task in self._tasks]

    async def stop(self) -> None:
        """Cancel until all have ended: a client in which a time-out fires at the same moment
        reports that, and the cancellation is lost."""
        left = set(self._running)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


async def _run_for_ever(task: PeriodicTask) -> None:
    while True:
        try:
            await task()
        except (RedisError, ObjectStoreError) as error:
            log.warning("a background task stopped (%s); restarting it", type(error).__name__)
        except Exception:  # a fault of ours must not end webhooks and expiry for good
            log.exception("a background task failed; restarting it")
        await asyncio.sleep(RESTART_S)
