"""What a worker does with a job: claim it, keep it, and end it as its one owner.

A claim has a lease, which says how long no other worker may take the job, and a fence, a number
that every write carries: it only grows, and only the newest may write. So a worker that hung past
its lease can change nothing once another has the job.
"""

import json
import uuid
from typing import Any, Literal

from redis.asyncio import Redis

from schemas.jobs import AnalysisFiles, JobError, JobResult, MapResult
from storage.jobs.records import CANCELLED, EVENT_TTL_S, WORKER_LOST, Claim, LeaseLost, job_of
from storage.lua import Scripts

MAX_FAULTS = 20  # how often a job is handed back for faults of ours before it is given up


class Claims:
    """``max_attempts``: how many claims a job may use up before it fails.

    ``lease_s``: seconds by Redis' clock.
    """

    def __init__(self, redis: Redis, *, prefix: str = "retake", max_attempts: int = 3) -> None:
        self._scripts = Scripts(redis, prefix)
        self._max_attempts = max_attempts

    async def claim(self, video_id: str, worker: str, lease_s: float) -> Claim | None:
        """Take a job; this counts as an attempt. None: it is deleted, ended, under a live lease, or
        of a paused model.

        Also None for a job that was to be cancelled, and for one whose attempts are used up: it is
        failed here, the latter with its last error, as a dead letter. An attempt whose worker
        vanished uses none up, unless the job lost its last worker at the same step.
        """
        reply = await self._scripts.run(
            "claim",
            video_id,
            worker,
            uuid.uuid4().hex,
            _ms(lease_s),
            self._max_attempts,
            CANCELLED.model_dump_json(),
            WORKER_LOST.model_dump_json(),
            EVENT_TTL_S,
        )
        return Claim(job_of(reply[1]), int(reply[0]), worker) if reply else None

    async def heartbeat(self, claim: Claim, lease_s: float) -> bool:
        """Renew the lease. True: the job is to be cancelled. Raises LeaseLost."""
        return await self._renew(claim, lease_s, "", "", 0, 0)

    async def progress(
        self,
        claim: Claim,
        *,
        step: int,
        total: int,
        data: dict[str, Any],
        lease_s: float,
        event: Literal["progress", "preview"] = "progress",
    ) -> bool:
        """Renew the lease, note ``step`` of ``total``, publish an event with ``data`` and both.

        True: the job is to be cancelled. Raises LeaseLost.
        """
        body = json.dumps({**data, "step": step, "total": total}, allow_nan=False)
        return await self._renew(claim, lease_s, event, body, step, total)

    async def complete(
        self,
        claim: Claim,
        result: JobResult | MapResult | AnalysisFiles,
        retention_s: int | None = None,
    ) -> None:
        """End the job with ``result``, kept for ``retention_s`` (None: as submitted).

        Raises LeaseLost, also where the job was cancelled meanwhile, which it then ends as; the
        objects just written are then orphans that nobody reads.
        """
        fields = {JobResult: "result", MapResult: "map", AnalysisFiles: "analysis"}
        value = _json_of(result)
        await self._finish(claim, "completed", fields[type(result)], value, retention_s)

    async def fail(self, claim: Claim, error: JobError) -> None:
        """End the job with ``error``, whether attempts are left or not. Raises LeaseLost."""
        await self._finish(claim, "failed", "error", error.model_dump_json(), None)

    async def release(
        self, claim: Claim, error: JobError | None = None, *, our_fault: bool = False
    ) -> None:
        """Hand the job back: it is queued again, in its old place.

        Without ``error`` (a drain) the attempt does not count. With one, and no attempt left, the
        job fails with it, as a dead letter. ``our_fault``: a store failed, so the attempt does not
        count, and the job waits: a second, then twice as long each time up to a minute; it fails
        at the ``MAX_FAULTS``th. Raises LeaseLost.
        """
        done = await self._scripts.run(
            "release",
            claim.job.spec.id,
            claim.fence,
            error.model_dump_json() if error else "",
            self._max_attempts,
            CANCELLED.model_dump_json(),
            EVENT_TTL_S,
            MAX_FAULTS if our_fault else "",
        )
        if not done:
            raise _lease_lost(claim)

    async def _renew(
        self, claim: Claim, lease_s: float, kind: str, data: str, step: int, total: int
    ) -> bool:
        state = await self._scripts.run(
            "renew", claim.job.spec.id, claim.fence, _ms(lease_s), kind, data, step, total
        )
        if state < 0:
            raise _lease_lost(claim)
        return bool(state)

    async def _finish(
        self, claim: Claim, status: str, field: str, value: str, retention_s: int | None
    ) -> None:
        done = await self._scripts.run(
            "finish",
            claim.job.spec.id,
            claim.fence,
            status,
            field,
            value,
            "" if retention_s is None else retention_s,
            EVENT_TTL_S,
            CANCELLED.model_dump_json(),
        )
        if not done:
            raise _lease_lost(claim)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _lease_lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"claim {claim.fence} of {claim.worker} lost {claim.job.spec.id}")


def _json_of(result: JobResult | MapResult | AnalysisFiles) -> str:
    """Without what has its default: an API of the version before reads it during a rollout."""
    return result.model_dump_json(exclude_defaults=True)
