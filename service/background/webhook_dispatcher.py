"""Webhooks: from a job's end to signed deliveries, which are retried and at last given up.

Scheme: standardwebhooks.com, whose library signs. Events are sent at least once and in no order.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import httpcore
from standardwebhooks.webhooks import Webhook

from schemas.errors import NotFound
from schemas.jobs import JobKind
from schemas.webhooks import EventType, WebhookEvent
from service.background.egress import EgressClient, TargetRefused
from service.background.job_outcome import JobOutcome
from service.background.metrics import Metrics
from storage.webhooks import Endpoint, QueuedDelivery, WebhookStore

log = logging.getLogger("retake.webhooks")
LEASE_S = 120.0  # longer than any attempt takes
MAX_AT_ONCE = 16
POLL_S = 1.0
GONE = 410
JITTER = 0.25
# of each kind of job, its completion and its failure; a map's client waits for the picture itself
EVENTS: Mapping[JobKind, tuple[EventType, EventType]] = {
    "video": ("video.completed", "video.failed"),
    "analysis": ("analysis.completed", "analysis.failed"),
}


class WebhookDispatcher:
    """``backoff_s``: the wait before each further attempt; after the last one it is given up."""

    def __init__(
        self,
        store: WebhookStore,
        egress: EgressClient,
        metrics: Metrics,
        backoff_s: Sequence[float],
    ) -> None:
        self.store, self._egress, self._metrics = store, egress, metrics
        self._backoff_s = backoff_s
        self._woken = asyncio.Event()

    async def queue_event(self, outcome: JobOutcome) -> None:
        """Queue the end of a job for every endpoint that wants it."""
        job = outcome.job
        ends = EVENTS.get(job.spec.kind)
        if ends is None:
            return
        kind = ends[job.state.error is not None]
        for endpoint in await self.store.list(job.spec.project):
            chosen = job.spec.webhook_url in (None, endpoint.shown.url)
            if chosen and kind in endpoint.shown.event_types:
                await self.store.queue(endpoint, kind, job.spec.id)
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled. Raises RedisError: run it again."""
        while True:
            self._woken.clear()
            due = await self.store.due(MAX_AT_ONCE, LEASE_S)
            if due:
                await asyncio.gather(*(self._attempt(delivery) for delivery in due))
                continue
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass  # retries of other processes fall due too

    def wake(self) -> None:
        """Look for due deliveries now, rather than at the next poll."""
        self._woken.set()

    async def send(self, endpoint: Endpoint, event: WebhookEvent) -> int:
        """One signed request; the status of its answer. Raises as ``EgressClient.post``."""
        body, now = event.model_dump_json(), datetime.now(UTC)
        signatures = [Webhook(secret).sign(event.id, now, body) for secret in endpoint.secrets]
        headers = {
            "content-type": "application/json",
            "user-agent": "retake-webhooks/1",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return await self._egress.post(endpoint.shown.url, headers, body.encode())

    async def _attempt(self, delivery: QueuedDelivery) -> None:
        shown = delivery.shown
        try:
            endpoint = await self.store.get(delivery.project, shown.webhook_endpoint_id)
        except NotFound:
            await self._settle(delivery, None, "the endpoint was deleted", final=True)
            return
        event = WebhookEvent(
            id=shown.event_id,
            created_at=shown.created_at,
            type=shown.event_type,
            data=WebhookEvent.Subject(id=shown.video_id),
        )
        status, error = None, None
        try:
            status = await self.send(endpoint, event)
        except TargetRefused:
            error = "the host's address is not public"
        except TimeoutError:
            error = "no answer in time"
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
            error = "no connection, or it broke off"
        if status is not None and not 200 <= status < 300:
            error = (
                f"answered {status}; redirects are not followed"
                if status < 400
                else (f"answered {status}")
            )
        await self._settle(delivery, status, error, final=status == GONE)

    async def _settle(
        self, delivery: QueuedDelivery, status: int | None, error: str | None, *, final: bool
    ) -> None:
        shown = delivery.shown
        attempts = shown.attempts + 1
        dead = error is not None and (final or attempts > len(self._backoff_s))
        again = error is not None and not dead
        wait = self._backoff_s[attempts - 1] * random.uniform(1, 1 + JITTER) if again else 0.0
        change = {
            "status": "failed" if dead else "pending" if again else "delivered",
            "attempts": attempts,
            "last_status_code": status,
            "last_error": error,
            "next_attempt_at": int(time.time() + wait) if again else None,
        }
        log.info(
            "webhook %s attempt=%d %s", change["status"], attempts, error or "",
            extra={"event_id": shown.event_id, "video_id": shown.video_id},
        )  # fmt: skip
        self._metrics.webhook("delivered" if error is None else "dead" if dead else "retried")
        await self.store.record(
            delivery.model_copy(update={"shown": shown.model_copy(update=change)})
        )
