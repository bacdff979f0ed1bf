"""The application: what it holds is opened and closed here, its routes are joined."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from service.background.egress import EgressClient, EgressPolicy
from service.background.event_streams import EventStreams
from service.background.job_outcome import OutcomeReader
from service.background.metrics import Metrics
from service.background.periodic_tasks import PeriodicTask, PeriodicTasks
from service.background.picture_fetcher import PictureFetcher
from service.background.readiness import Readiness
from service.background.tracing import Tracing
from service.background.webhook_dispatcher import WebhookDispatcher
from service.catalogue import Catalogue
from service.jobs.sweeper import end_overdue_for_ever, sweep_for_ever
from service.key_cache import KeyCache
from service.request.app_state import AppState
from service.request.cors import Cors
from service.request.middleware import RequestMiddleware
from service.routes import (
    analyses,
    attention,
    content,
    docs,
    edits,
    events,
    health,
    lineage,
    models,
    resumable,
    studio,
    unsupported,
    uploads,
    videos,
    webhooks,
)
from service.settings import ServiceSettings
from service.wire import errors, openapi
from storage.artifact_index import ArtifactIndex
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import open_jobs
from storage.keys import KeyStore
from storage.limits import Limits, ProjectLimits
from storage.outbox import Outbox
from storage.resumable_uploads import ResumableUploads
from storage.uploads import UploadStore
from storage.webhooks import WebhookStore

# One flat list, the most requested first: a request is compared with each route before its own, and
# included routers would cost time of their own
MODULES = (
    videos, events, content, edits, models, lineage, attention, analyses, uploads, resumable,
    webhooks, health,
    unsupported, studio, docs,
)  # fmt: skip
DECODED_AT_ONCE = 2  # pictures, by one process
ROUTES = [route for module in MODULES for route in module.router.routes]


def create_app(settings: ServiceSettings) -> FastAPI:
    """The API over the stores that ``settings`` name; nothing is opened before it starts."""

    tracing = Tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = open_state(settings, tracing)
        tasks = PeriodicTasks(tasks_of(state))
        try:
            await check_keys(state)
            await state.readiness.start()
            app.state.retake = state
            tasks.start()
            yield
        finally:
            await state.streams.close()
            await tasks.stop()
            await state.egress.close()
            await state.picture_fetcher.close()
            await state.redis.aclose()
            state.objects.close()
            await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Retake",
        version="1",
        description="Keep the shot, change the subject: video generation and edits by attention "
        "transfer, in the dialect of OpenAI's Videos API.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from other hosts: ours is in routes/docs.py
        redoc_url=None,
        redirect_slashes=False,
        routes=ROUTES,
        telemetry=tracing.config,
    )
    app.add_middleware(RequestMiddleware, tracing=tracing)
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins)
    errors.install(app)
    openapi.install(app)
    app.state.methods = openapi.Methods(app)
    return app


def open_state(settings: ServiceSettings, tracing: Tracing) -> AppState:
    """Everything that one process holds; nothing connects before its first use."""
    redis, prefix = open_redis(settings.storage), settings.storage.redis_prefix
    jobs = open_jobs(redis, prefix=prefix)
    objects, artifacts = open_objects(settings.storage), ArtifactIndex(redis, prefix=prefix)
    catalogue = Catalogue(jobs.models.list, settings.models_ttl_s)
    streams = EventStreams(jobs.store, jobs.events, settings.max_followers)
    metrics = Metrics(jobs.maintenance, artifacts, streams)
    webhooks = WebhookStore(redis, prefix=prefix)
    targets = EgressPolicy(settings.webhook_allow)
    egress = EgressClient(targets, settings.webhook_timeout_s)
    limits = ProjectLimits(
        requests_per_minute=settings.requests_per_minute,
        max_open_jobs=settings.max_open_jobs,
        max_stored_bytes=settings.max_stored_bytes,
        max_analysis_cost=settings.max_analysis_cost,
    )
    return AppState(
        settings=settings,
        redis=redis,
        jobs=jobs.store,
        events=jobs.events,
        maintenance=jobs.maintenance,
        objects=objects,
        artifacts=artifacts,
        catalogue=catalogue,
        readiness=Readiness(redis, objects, jobs.models, catalogue, prefix),
        streams=streams,
        keys=KeyCache(KeyStore(redis, prefix=prefix), settings.key_cache_s),
        limits=Limits(redis, limits, prefix=prefix),
        targets=targets,
        egress=egress,
        picture_fetcher=PictureFetcher(
            settings.picture_hosts, settings.picture_timeout_s, settings.max_picture_bytes
        ),
        webhook_dispatcher=WebhookDispatcher(webhooks, egress, metrics, settings.webhook_backoff_s),
        metrics=metrics,
        tracing=tracing,
        uploads=UploadStore(redis, prefix=prefix),
        resumable=ResumableUploads(redis, prefix=prefix),
        decoding=asyncio.Semaphore(DECODED_AT_ONCE),
    )


def tasks_of(state: AppState) -> list[PeriodicTask]:
    """What this process does beside answering requests."""
    consumer = f"api-{uuid.uuid4().hex[:12]}"
    outbox = Outbox(state.redis, consumer, prefix=state.settings.storage.redis_prefix)
    listeners = [
        state.webhook_dispatcher.queue_event,
        state.metrics.count_outcome,
        state.tracing.trace_outcome,
    ]
    return [
        state.webhook_dispatcher.run,
        OutcomeReader(state.jobs, state.events, outbox, listeners).run,
        partial(sweep_for_ever, state),
        partial(end_overdue_for_ever, state),
    ]


async def check_keys(state: AppState) -> None:
    """Refuse to start where keys are required and none exists: every request would fail."""
    if state.settings.needs_keys and not await state.keys.store.list():
        raise RuntimeError("no API key exists yet; make one with `retake keys create`")
