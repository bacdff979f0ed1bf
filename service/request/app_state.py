"""What one API process holds open; opened in the lifespan, found on ``app.state.retake``."""

import asyncio
from dataclasses import dataclass, field

from fastapi import Request
from redis.asyncio import Redis

from service.background.egress import EgressClient, EgressPolicy
from service.background.event_streams import EventStreams
from service.background.metrics import Metrics
from service.background.picture_fetcher import PictureFetcher
from service.background.readiness import Readiness
from service.background.tracing import Tracing
from service.background.webhook_dispatcher import WebhookDispatcher
from service.catalogue import Catalogue
from service.key_cache import KeyCache
from service.settings import ServiceSettings
from storage.artifact_index import ArtifactIndex
from storage.jobs.job_events import JobEvents
from storage.jobs.job_store import JobStore
from storage.jobs.maintenance import Maintenance
from storage.limits import Limits
from storage.objects.objects import ObjectStore
from storage.resumable_uploads import ResumableUploads
from storage.uploads import UploadStore


@dataclass(frozen=True)
class AppState:
    """``decoding``: held while a picture is decoded: many large ones would fill the memory."""

    settings: ServiceSettings
    redis: Redis
    jobs: JobStore
    events: JobEvents
    maintenance: Maintenance
    objects: ObjectStore
    artifacts: ArtifactIndex
    catalogue: Catalogue
    readiness: Readiness
    streams: EventStreams
    keys: KeyCache
    limits: Limits
    targets: EgressPolicy
    egress: EgressClient
    picture_fetcher: PictureFetcher
    webhook_dispatcher: WebhookDispatcher
    metrics: Metrics
    tracing: Tracing
    uploads: UploadStore
    resumable: ResumableUploads
    decoding: asyncio.Semaphore
    # reading a file takes a process of hundreds of megabytes: no more than so many at once
    probes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


def app_state(request: Request) -> AppState:
    state: AppState = request.app.state.retake
    return state
