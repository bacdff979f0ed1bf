"""What one API process holds open, made in the lifespan and found on ``app.state``."""

from dataclasses import dataclass

from fastapi import Request
from redis.asyncio import Redis

from service.background.courier import Courier
from service.background.events import Followers
from service.background.metrics import Metrics
from service.background.outbound import Outbound, Targets
from service.background.tracing import Tracing
from service.catalogue import Catalogue
from service.key_cache import KeyCache
from service.settings import ServiceSettings
from storage.artifact_index import ArtifactIndex
from storage.jobs.jobs import JobStore
from storage.limits import Limits
from storage.objects.objects import ObjectStore


@dataclass(frozen=True)
class Parts:
    settings: ServiceSettings
    redis: Redis
    jobs: JobStore
    objects: ObjectStore
    artifacts: ArtifactIndex
    catalogue: Catalogue
    followers: Followers
    keys: KeyCache
    limits: Limits
    targets: Targets
    outbound: Outbound
    courier: Courier
    metrics: Metrics
    tracing: Tracing


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts
