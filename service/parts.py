"""What one API process holds open, made in the lifespan and found on ``app.state``."""

from dataclasses import dataclass

from fastapi import Request
from redis.asyncio import Redis

from service.catalogue import Catalogue
from service.courier import Courier
from service.events import Followers
from service.key_cache import KeyCache
from service.metrics import Metrics
from service.outbound import Outbound, Targets
from service.settings import ServiceSettings
from service.tracing import Tracing
from storage.artifact_index import ArtifactIndex
from storage.jobs import JobStore
from storage.limits import Limits
from storage.objects import ObjectStore


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
