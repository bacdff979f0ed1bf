"""What one API process holds open; opened in the lifespan, found on ``app.state.retake``."""

from dataclasses import dataclass

from fastapi import Request
from redis.asyncio import Redis

from service.background.egress import EgressClient, EgressPolicy
from service.background.event_streams import EventStreams
from service.background.metrics import Metrics
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


@dataclass(frozen=True)
class AppState:
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
    webhook_dispatcher: WebhookDispatcher
    metrics: Metrics
    tracing: Tracing


def app_state(request: Request) -> AppState:
    state: AppState = request.app.state.retake
    return state
