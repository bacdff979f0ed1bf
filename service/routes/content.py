"""``/v1/videos/{id}/content`` and ``/region``: by redirect to the store where it can presign, else
as bytes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from schemas.base import Frozen
from schemas.errors import NotFound, SourceNotReady
from schemas.jobs import Job, JobResult
from service.request.delivery import deliver
from service.request.dependencies import CallDep, VideoIdDep
from service.settings import Delivery
from service.wire.content import Content, Variant, content_of
from service.wire.errors import COMMON, documented

router = APIRouter(prefix="/v1", tags=["videos"], responses=COMMON)

MEDIA = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("video/mp4", "image/webp")
}
PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


def _responses(content: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": content, "description": "The whole content"},
        206: {"content": content, "description": "The range that was asked for"},
        302: {"description": "Where the store can presign: a URL that expires"},
        304: {"description": "The ETag of If-None-Match still holds"},
        **documented(400, 404, 409, 416, 503),
    }


class DeliveryQuery(Frozen):
    """``delivery``: ``bytes`` to get the content itself instead of a redirect to the store, which
    web pages may not be allowed to read from. None: the server's setting."""

    delivery: Delivery | None = None


class ContentQuery(DeliveryQuery):
    """``variant``: the video, or a picture of it. ``delivery``: ``bytes`` to get the content itself
    instead of a redirect to the store, which web pages may not be allowed to read from. None: the
    server's setting."""

    variant: Variant = "video"


@router.head("/videos/{video_id:video}/content", include_in_schema=False)
@router.get(
    "/videos/{video_id:video}/content", response_class=Response, responses=_responses(MEDIA)
)
async def get_content(
    video_id: VideoIdDep,
    call: CallDep,
    query: Annotated[ContentQuery, Query()],
) -> Response:
    """The mp4, its thumbnail or its spritesheet, once the video is completed."""
    job = await call.state.jobs.get(call.project, video_id)
    content = content_of(job.spec, _result_of(job), query.variant)
    return await deliver(call, content, query.delivery)


@router.head("/videos/{video_id:video}/region", include_in_schema=False)
@router.get("/videos/{video_id:video}/region", response_class=Response, responses=_responses(PNG))
async def get_region(
    video_id: VideoIdDep, call: CallDep, query: Annotated[DeliveryQuery, Query()]
) -> Response:
    """Where an edit with a ``region`` was made: a PNG, white where all of the change is made, grey
    where part of it is, black where the video is its source.

    A region that moves is an animated PNG at the video's pace; frames that are alike are one.
    """
    job = await call.state.jobs.get(call.project, video_id)
    if job.spec.recipe.region is None:
        raise NotFound(f"video_id: {video_id!r} was made without a region", param="video_id")
    key = _result_of(job).region_key
    if key is None:
        raise NotFound(f"video_id: the region of {video_id!r} is not stored", param="video_id")
    content = Content(key, "image/png", f"{video_id}-region.png")
    return await deliver(call, content, query.delivery)


def _result_of(job: Job) -> JobResult:
    if job.state.result is None:
        raise SourceNotReady(
            f"video_id: {job.spec.id!r} is {job.state.status}; only a completed video has content",
            param="video_id",
            code="video_not_ready",
        )
    return job.state.result
