"""Webhook endpoints, and deliveries to them: queued once, leased, retried, given up.

A project's endpoints and the deliveries of the last week are kept in Redis. A delivery is sent at
least once; its receiver recognises repeats by the event's id.
"""

import base64
import secrets
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.base import Frozen
from schemas.errors import InvalidRequest, NotFound
from schemas.webhooks import (
    CreateEndpoint,
    DeliveryStatus,
    EventType,
    UpdateEndpoint,
    WebhookDelivery,
    WebhookEndpoint,
)
from storage.lua import Scripts

DAY_S = 86_400
KEPT_S = 7 * DAY_S
MAX_ENDPOINTS = 20
MAX_LISTED = 1000
SECRET_BYTES = 32


class Endpoint(Frozen):
    """An endpoint with its secrets. ``old_secret`` signs too until ``old_until`` (Unix seconds)."""

    project: str
    shown: WebhookEndpoint
    secret: str
    old_secret: str | None = None
    old_until: int = 0

    @property
    def secrets(self) -> Sequence[str]:
        """Those to sign with, newest first."""
        if self.old_secret and self.old_until > time.time():
            return (self.secret, self.old_secret)
        return (self.secret,)


class QueuedDelivery(Frozen):
    project: str
    shown: WebhookDelivery


class WebhookStore:
    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def create(self, project: str, asked: CreateEndpoint) -> Endpoint:
        """A new endpoint with a secret of its own. Raises InvalidRequest past the limit."""
        if await self._redis.hlen(self._endpoints(project)) >= MAX_ENDPOINTS:
            raise InvalidRequest(f"{MAX_ENDPOINTS} webhook endpoints exist; that is all allowed")
        now, secret = int(time.time()), _new_secret()
        shown = WebhookEndpoint(
            id=f"webhook_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}",
            name=asked.name,
            url=asked.url,
            event_types=asked.event_types,
            created_at=now,
            updated_at=now,
            signing_secret_hint=_hint(secret),
        )
        return await self._save(Endpoint(project=project, shown=shown, secret=secret))

    async def get(self, project: str, endpoint_id: str) -> Endpoint:
        """Raises NotFound, for another project's endpoint too."""
        record: Any = await self._redis.hget(self._endpoints(project), endpoint_id)
        if record is None:
            raise NotFound(f"no webhook endpoint {endpoint_id[:80]!r}", param="webhook_endpoint_id")
        return Endpoint.model_validate_json(record)

    async def list(self, project: str) -> Sequence[Endpoint]:
        """All of a project's, newest first."""
        records: Any = await self._redis.hvals(self._endpoints(project))
        endpoints = [Endpoint.model_validate_json(record) for record in records]
        return sorted(endpoints, key=lambda endpoint: endpoint.shown.id, reverse=True)

    async def update(self, project: str, endpoint_id: str, asked: UpdateEndpoint) -> Endpoint:
        endpoint = await self.get(project, endpoint_id)
        changes = asked.model_dump(exclude_none=True)
        shown = endpoint.shown.model_copy(update={**changes, "updated_at": int(time.time())})
        return await self._save(endpoint.model_copy(update={"shown": shown}))

    async def rotate(self, project: str, endpoint_id: str, *, keep_old: bool) -> Endpoint:
        """A new secret. ``keep_old``: the previous one signs too, for 24 hours."""
        endpoint, secret = await self.get(project, endpoint_id), _new_secret()
        now = int(time.time())
        hint = {"signing_secret_hint": _hint(secret), "updated_at": now}
        return await self._save(
            endpoint.model_copy(
                update={
                    "shown": endpoint.shown.model_copy(update=hint),
                    "secret": secret,
                    "old_secret": endpoint.secret if keep_old else None,
                    "old_until": now + DAY_S,
                }
            )
        )

    async def delete(self, project: str, endpoint_id: str) -> None:
        """Raises NotFound."""
        await self.get(project, endpoint_id)
        await self._redis.hdel(self._endpoints(project), endpoint_id)

    async def queue(self, endpoint: Endpoint, event_type: EventType, video_id: str) -> bool:
        """Queue an event for delivery; it is delivered once however often this is called.

        False: it was queued before.
        """
        event_id, now = event_id_of(video_id), int(time.time())
        delivery = WebhookDelivery(
            id=f"{event_id}_{endpoint.shown.id}",
            webhook_endpoint_id=endpoint.shown.id,
            event_id=event_id,
            event_type=event_type,
            video_id=video_id,
            created_at=now,
            next_attempt_at=now,
        )
        record = QueuedDelivery(project=endpoint.project, shown=delivery).model_dump_json()
        return bool(
            await self._scripts.run(
                "delivery_add", endpoint.project, delivery.id, record, now, KEPT_S
            )
        )

    async def due(self, limit: int, lease_s: float) -> Sequence[QueuedDelivery]:
        """Deliveries to try now; nobody else gets them for ``lease_s`` seconds."""
        records = await self._scripts.run("deliveries_due", limit, round(lease_s * 1000))
        return [QueuedDelivery.model_validate_json(record) for record in records]

    async def record(self, delivery: QueuedDelivery) -> None:
        """Record the outcome of an attempt; due again at ``next_attempt_at``, if that is set."""
        shown, due = delivery.shown, f"{self._prefix}:deliveries_due"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._delivery(shown.id), delivery.model_dump_json(), ex=KEPT_S)
            if shown.next_attempt_at is None:
                pipe.zrem(due, shown.id)
            else:
                pipe.zadd(due, {shown.id: shown.next_attempt_at * 1000})
            await pipe.execute()

    async def delivery(self, project: str, delivery_id: str) -> QueuedDelivery:
        """Raises NotFound, for another project's delivery too."""
        record: Any = await self._redis.get(self._delivery(delivery_id))
        found = QueuedDelivery.model_validate_json(record) if record else None
        if found is None or found.project != project:
            raise NotFound(f"no delivery {delivery_id[:120]!r}", param="delivery_id")
        return found

    async def redeliver(self, project: str, delivery_id: str) -> QueuedDelivery:
        """Try a delivery again from the start, whatever its status. Raises NotFound."""
        found = await self.delivery(project, delivery_id)
        fresh = {"status": "pending", "attempts": 0, "next_attempt_at": int(time.time())}
        again = found.model_copy(update={"shown": found.shown.model_copy(update=fresh)})
        await self.record(again)
        return again

    async def deliveries(
        self, project: str, status: DeliveryStatus | None
    ) -> Sequence[WebhookDelivery]:
        """The newest of the last week, up to 1,000. ``status``: only those with it."""
        ids: Any = await self._redis.zrevrange(
            f"{self._prefix}:deliveries:{project}", 0, MAX_LISTED - 1
        )
        records = await self._redis.mget([self._delivery(id.decode()) for id in ids]) if ids else []
        shown = [QueuedDelivery.model_validate_json(record).shown for record in records if record]
        return [delivery for delivery in shown if status in (None, delivery.status)]

    async def _save(self, endpoint: Endpoint) -> Endpoint:
        name, record = self._endpoints(endpoint.project), endpoint.model_dump_json()
        await self._redis.hset(name, endpoint.shown.id, record)
        return endpoint

    def _endpoints(self, project: str) -> str:
        return f"{self._prefix}:webhooks:{project}"

    def _delivery(self, delivery_id: str) -> str:
        return f"{self._prefix}:delivery:{delivery_id}"


def event_id_of(video_id: str) -> str:
    """A video ends once, so its end is one event, however often it is sent."""
    return f"evt_{video_id.removeprefix('video_')}"


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _hint(secret: str) -> str:
    return f"whsec_…{secret[-4:]}"
