"""Submitting jobs: idempotency and limits, then the job's complete spec into the queue."""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from schemas.base import canonical_hash
from schemas.errors import InvalidRequest, RateLimited, RetakeError
from schemas.jobs import Job, JobSpec
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.requests import JobOptions
from service.jobs.captures import capture_spec
from service.jobs.pictures import RequestPictures
from service.jobs.quota import QUOTA_RETRY_S
from service.jobs.resolve import preview_steps
from service.request.auth import Call

log = logging.getLogger("retake.service")
MAX_KEY_CHARS = 255


def job_spec(
    call: Call,
    recipe: Recipe,
    card: ModelCard,
    options: JobOptions,
    **more: Any,
) -> JobSpec:
    """The spec of one job: all that its worker needs to know."""
    return JobSpec(
        id=new_video_id(),
        project=call.project,
        recipe=recipe,
        source_key=recipe.key(call.project),
        edit_source_key=recipe.source.key(call.project) if recipe.source else None,
        capture=capture_spec(options.capture, call.state.settings, card, recipe),
        preview_every=preview_steps(options.preview_every, card),
        priority=options.priority,
        created_at=int(time.time()),
        retention_s=call.state.settings.retention_s or None,
        webhook_url=options.webhook_url,
        start_timeout_s=options.start_timeout_s,
        **more,
    )


def new_video_id() -> str:
    """Sorts by time, and cannot be guessed: 48 bits of milliseconds, 64 random bits."""
    return f"video_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


async def accept(
    call: Call,
    body: BaseModel,
    make: Callable[[RequestPictures], Awaitable[Sequence[JobSpec]]],
) -> list[Job]:
    """Submit the specs that ``make`` gives, with their pictures, or return the jobs that the key
    already stands for.

    A repeated request is answered from the store before it is checked again: its source or its
    model may be gone by then.
    """
    key = idempotency_key(call.request)
    digest = body_hash(call.request, body) if key else None
    if key and digest:
        jobs = await call.state.jobs.find_accepted(call.project, key, digest)
        if jobs:
            return jobs
    traceparent = call.state.tracing.traceparent(call.request)
    pictures = RequestPictures(call)
    specs = [spec.model_copy(update={"traceparent": traceparent}) for spec in await make(pictures)]
    await _check_webhooks(call, specs)
    max_open = await open_jobs_limit(call)
    specs = await pictures.store(specs)
    try:
        jobs = await call.state.jobs.submit(
            specs, idempotency_key=key, body_hash=digest, max_open=max_open
        )
    except RetakeError:  # refused; after any other error they may have been accepted
        await pictures.discard(specs)
        raise
    accepted = {job.spec.id for job in jobs}
    await pictures.discard([spec for spec in specs if spec.id not in accepted])
    for job in jobs:
        log.info(
            "queued %s %s priority=%s",
            job.spec.id,
            job.spec.label,
            job.spec.priority,
            extra={"video_id": job.spec.id, "project": call.project},
        )
    return jobs


async def _check_webhooks(call: Call, specs: Sequence[JobSpec]) -> None:
    """A job may name one of the project's endpoints, which alone is then told; no other URL."""
    wanted = {spec.webhook_url for spec in specs if spec.webhook_url is not None}
    if not wanted:
        return
    known = {
        endpoint.shown.url
        for endpoint in await call.state.webhook_dispatcher.store.list(call.project)
    }
    for url in wanted - known:
        raise InvalidRequest(
            f"webhook_url: {url[:200]!r} is not one of the project's; register it first with "
            "POST /v1/webhook_endpoints",
            param="webhook_url",
        )


async def open_jobs_limit(call: Call) -> int | None:
    """How many open jobs the project may have (None: any). Raises RateLimited if its storage is
    full."""
    if not call.state.settings.needs_keys:
        return None
    limits = await call.state.limits.of(call.project)
    if limits.max_stored_bytes:
        stored = await call.state.limits.stored_bytes(call.project)
        if stored >= limits.max_stored_bytes:
            raise RateLimited(
                f"{stored} bytes are stored for this project; allowed are "
                f"{limits.max_stored_bytes}: delete videos, artifacts or analyses",
                code="storage_quota_exceeded",
                retry_after_s=QUOTA_RETRY_S,
            )
    return limits.max_open_jobs or None


def idempotency_key(request: Request) -> str | None:
    """The ``Idempotency-Key`` header; raises InvalidRequest unless it is plain and short enough."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key: {key[:80]!r} is not allowed; allowed are 1 to {MAX_KEY_CHARS} "
            "printable ASCII characters",
            param="Idempotency-Key",
        )
    return key


def body_hash(request: Request, body: BaseModel) -> str:
    """Of the parsed body, not of its bytes: a form's boundary differs with every try."""
    value = body.model_dump(mode="json", exclude_unset=True)
    return canonical_hash({"path": request.url.path, "body": value})
