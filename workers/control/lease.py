"""Keeps one claim alive while its job runs, and hears what should stop it.

The lease is renewed from the replica's event loop; the job runs in a thread of its own. Steps are
published in order and never waited for: a slow Redis does not slow the denoising.
"""

import asyncio
import base64
import logging
import time
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from redis import RedisError

from schemas.errors import JobCancelled
from storage.jobs.claims import Claims
from storage.jobs.records import Claim, LeaseLost

log = logging.getLogger("retake.worker")


class HandBack(Exception):
    """The worker is being drained: give the job back as it was taken."""


class _Step(NamedTuple):
    number: int
    total: int
    data: dict[str, Any]
    event: Literal["progress", "preview"] = "progress"


class Lease:
    """An async context around a claimed job.

    ``lease_s``: how long nobody else may take the job after the last renewal.
    ``stall_s``: without a sign of life from the job for that long, the lease is no longer
    renewed: the job hangs, and another worker is to have it.
    """

    def __init__(self, claims: Claims, claim: Claim, *, lease_s: float, stall_s: float) -> None:
        self.claim = claim
        self._claims, self._lease_s, self._stall_s = claims, lease_s, stall_s
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[_Step] = asyncio.Queue()
        self._began = self._alive_at = time.monotonic()
        self._stop: Exception | None = None
        self._over = False
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True  # redis-py can swallow a cancellation
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    def step(self, number: int, total: int) -> None:
        """Publish that ``number`` of ``total`` steps are done, then ``check``. From any thread.

        ``seconds`` of the event: since the claim; ``eta``: until the last step, at this pace.
        Number 0 is a sign of life alone.
        """
        if number == 0:
            self.check()
            return
        seconds = time.monotonic() - self._began
        data = {"seconds": round(seconds, 3), "eta": round(seconds / number * (total - number), 3)}
        self._loop.call_soon_threadsafe(self._steps.put_nowait, _Step(number, total, data))
        self.check()

    def preview(self, number: int, total: int, jpeg: bytes) -> None:
        """Publish a picture of the film after ``number`` of ``total`` steps. From any thread."""
        data = {"jpeg": base64.b64encode(jpeg).decode()}
        step = _Step(number, total, data, "preview")
        self._loop.call_soon_threadsafe(self._steps.put_nowait, step)

    def check(self) -> None:
        """Raise JobCancelled, LeaseLost or HandBack if the job should stop. From any thread."""
        self._alive_at = time.monotonic()
        if self._stop is not None:
            raise self._stop

    def interrupt(self, reason: Exception) -> None:
        """Let the job's next ``step`` or ``check`` raise ``reason``; the first one stays."""
        self._stop = self._stop or reason

    @property
    def stalled(self) -> bool:
        """Whether the job has given no sign of life for ``stall_s``."""
        return time.monotonic() - self._alive_at > self._stall_s

    async def settle(self) -> None:
        """Wait until the steps are published: what follows comes after them in the events."""
        await self._steps.join()

    async def _renew(self) -> None:
        while not self._over:
            if self.stalled:
                log.error("job=%s stalled: its lease is left to end", self.claim.job.spec.id)
                return
            try:
                async with asyncio.timeout(self._lease_s / 3):
                    step = await self._steps.get()
            except TimeoutError:
                await self._send(None)
                continue
            await self._send(step)
            self._steps.task_done()

    async def _send(self, step: _Step | None) -> None:
        try:
            if step is None:
                cancelled = await self._claims.heartbeat(self.claim, self._lease_s)
            else:
                cancelled = await self._claims.progress(
                    self.claim,
                    step=step.number,
                    total=step.total,
                    data=step.data,
                    lease_s=self._lease_s,
                    event=step.event,
                )
        except LeaseLost as lost:
            self.interrupt(lost)
        except RedisError as error:
            # the fence decides at the end whether the job is still ours: go on meanwhile
            log.warning(
                "job=%s lease not renewed: %s", self.claim.job.spec.id, type(error).__name__
            )
        else:
            if cancelled:
                self.interrupt(JobCancelled("the job was cancelled"))
