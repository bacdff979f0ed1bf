"""Is the process alive, can it take work, and how does it do?"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST as TEXT_FORMAT

from schemas.base import Frozen
from schemas.errors import Unavailable
from service.request.auth import Allowed, Call
from service.request.parts import parts_of
from service.wire.errors import documented

router = APIRouter(tags=["health"])
EXPOSITION = {"description": "Prometheus' text format", "content": {"text/plain": {}}}
MetricsCallDep = Annotated[Call, Depends(Allowed("metrics"))]


class Health(Frozen):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers; nothing else is looked at."""
    return Health()


@router.get("/readyz", responses=documented(503))
async def readyz(request: Request) -> Health:
    """Redis answers, and a worker has published a model."""
    parts = parts_of(request)
    await parts.redis.ping()
    if not await parts.catalogue.cards():
        raise Unavailable("no model is loaded yet")
    return Health()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: EXPOSITION, **documented(401, 403, 429, 503)},
)
async def metrics(call: MetricsCallDep) -> Response:
    """Metrics of this process and of the queue; they speak of all projects together."""
    prefix = call.parts.settings.storage.redis_prefix
    return Response(
        await call.parts.metrics.exposition(call.parts.redis, prefix), media_type=TEXT_FORMAT
    )
