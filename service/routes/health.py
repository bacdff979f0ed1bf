"""Is the process alive, can it take work, and how does it do?"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST as TEXT_FORMAT

from schemas.base import Frozen
from schemas.errors import Unavailable
from service.request.app_state import app_state
from service.request.auth import Allowed, Call
from service.wire.errors import documented

router = APIRouter(tags=["health"])
EXPOSITION = {"description": "Prometheus' text format", "content": {"text/plain": {}}}
MetricsCallDep = Annotated[Call, Depends(Allowed("metrics"))]


class Health(Frozen):
    status: Literal["ok"] = "ok"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> Health:
    """The process answers; nothing else is looked at."""
    return Health()


@router.head("/health", include_in_schema=False)
@router.get("/health", responses=documented(503))
async def health(request: Request) -> Health:
    """As ``/readyz``, by the name that clients of other servers wait for."""
    return await readyz(request)


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=documented(503))
async def readyz(request: Request) -> Health:
    """Both stores take writes, a model is published, and a worker was heard of since the start."""
    if problem := await app_state(request).readiness.problem():
        raise Unavailable(problem)
    return Health()


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    response_class=Response,
    responses={200: EXPOSITION, **documented(401, 403, 429, 503)},
)
async def metrics(call: MetricsCallDep) -> Response:
    """Metrics of this process and of the queue; they speak of all projects together."""
    prefix = call.state.settings.storage.redis_prefix
    return Response(
        await call.state.metrics.exposition(call.state.redis, prefix), media_type=TEXT_FORMAT
    )
