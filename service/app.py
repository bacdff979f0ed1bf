"""The application: its parts opened and closed, its routes joined."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from service.background.chores import Chore, Chores, tell_ended
from service.background.courier import Courier
from service.background.events import Followers
from service.background.metrics import Metrics
from service.background.outbound import Outbound, Targets
from service.background.tracing import Tracing
from service.catalogue import Catalogue
from service.jobs.sweeper import sweep_for_ever
from service.key_cache import KeyCache
from service.request.boundary import Boundary
from service.request.parts import Parts
from service.routes import (
    attention,
    content,
    edits,
    events,
    health,
    lineage,
    models,
    unsupported,
    videos,
    webhooks,
)
from service.settings import ServiceSettings
from service.wire import errors, openapi
from storage.artifact_index import ArtifactIndex
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import JobStore
from storage.keys import KeyStore
from storage.limits import Limits, ProjectLimits
from storage.outbox import Outbox
from storage.webhooks import WebhookStore

# By how often they are asked for, in one flat list: a request is held against each route before its
# own, and included routers would each take their time with it too
MODULES = (
    videos, events, content, edits, models, lineage, attention, webhooks, health, unsupported,
)  # fmt: skip
ROUTES = [route for module in MODULES for route in module.router.routes]


def create_app(settings: ServiceSettings) -> FastAPI:
    """The API over the stores that ``settings`` name; nothing is opened before it starts."""

    tracing = Tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = open_parts(settings, tracing)
        chores = Chores(chores_of(parts))
        try:
            await check_keys(parts)
            app.state.parts = parts
            chores.start()
            yield
        finally:
            await parts.followers.close()
            await chores.stop()
            await parts.outbound.close()
            await parts.redis.aclose()
            parts.objects.close()
            await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Retake",
        version="1",
        description="Keep the shot, change the subject: video generation and edits by attention "
        "transfer, in the dialect of OpenAI's Videos API.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        routes=ROUTES,
        telemetry=tracing.config,
    )
    app.add_middleware(Boundary, tracing=tracing)
    errors.install(app)
    openapi.install(app)
    app.state.methods = openapi.Methods(app)
    return app


def open_parts(settings: ServiceSettings, tracing: Tracing) -> Parts:
    """Everything that one process holds; nothing connects before its first use."""
    redis, prefix = open_redis(settings.storage), settings.storage.redis_prefix
    jobs = JobStore(redis, prefix=prefix)
    artifacts = ArtifactIndex(redis, prefix=prefix)
    followers = Followers(jobs, settings.max_followers)
    metrics = Metrics(jobs, artifacts, followers)
    webhooks = WebhookStore(redis, prefix=prefix)
    targets = Targets(settings.webhook_allow)
    outbound = Outbound(targets, settings.webhook_timeout_s)
    limits = ProjectLimits(
        requests_per_minute=settings.requests_per_minute,
        max_open_jobs=settings.max_open_jobs,
        max_stored_bytes=settings.max_stored_bytes,
    )
    return Parts(
        settings=settings,
        redis=redis,
        jobs=jobs,
        objects=open_objects(settings.storage),
        artifacts=artifacts,
        catalogue=Catalogue(jobs.models, settings.models_ttl_s),
        followers=followers,
        keys=KeyCache(KeyStore(redis, prefix=prefix), settings.key_cache_s),
        limits=Limits(redis, limits, prefix=prefix),
        targets=targets,
        outbound=outbound,
        courier=Courier(webhooks, outbound, metrics, settings.webhook_backoff_s),
        metrics=metrics,
        tracing=tracing,
    )


def chores_of(parts: Parts) -> list[Chore]:
    """What this process does beside answering."""
    consumer = f"api-{uuid.uuid4().hex[:12]}"
    outbox = Outbox(parts.redis, consumer, prefix=parts.settings.storage.redis_prefix)
    listeners = [parts.courier.ended, parts.metrics.ended, parts.tracing.ended]
    return [
        parts.courier.run,
        partial(tell_ended, parts.jobs, outbox, listeners),
        partial(sweep_for_ever, parts),
    ]


async def check_keys(parts: Parts) -> None:
    """Refuse to start where keys are asked for and none exists: nobody could get in."""
    if parts.settings.needs_keys and not await parts.keys.store.list():
        raise RuntimeError("no API key exists yet; make one with `retake keys create`")
