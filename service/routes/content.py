"""``/v1/videos/{id}/content``: by redirect to the store where it can presign, else as bytes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from schemas.base import Frozen
from schemas.errors import SourceNotReady
from service.request.delivery import deliver
from service.request.dependencies import CallDep, VideoIdDep
from service.settings import Delivery
from service.wire.content import Variant, content_of
from service.wire.errors import COMMON, documented

router = APIRouter(prefix="/v1", tags=["videos"], responses=COMMON)

MEDIA = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("video/mp4", "image/webp")
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": MEDIA, "description": "The whole content"},
    206: {"content": MEDIA, "description": "The range that was asked for"},
    302: {"description": "Where the store can presign: a URL that expires"},
    304: {"description": "The ETag of If-None-Match still holds"},
    **documented(400, 404, 409, 416, 503),
}


class ContentQuery(Frozen):
    """``delivery``: ``bytes`` to get the content itself instead of a redirect to the store, which
    web pages may not be allowed to read from. None: the server's setting."""

    variant: Variant = "video"
    delivery: Delivery | None = None


@router.head("/videos/{video_id:video}/content", include_in_schema=False)
@router.get("/videos/{video_id:video}/content", response_class=Response, responses=RESPONSES)
async def get_content(
    video_id: VideoIdDep,
    call: CallDep,
    query: Annotated[ContentQuery, Query()],
) -> Response:
    """The mp4, its thumbnail or its spritesheet, once the video is completed."""
    job = await call.state.jobs.get(call.project, video_id)
    if job.state.result is None:
        raise SourceNotReady(
            f"video_id: {video_id!r} is {job.state.status}; only a completed video has content",
            param="video_id",
            code="video_not_ready",
        )
    content = content_of(job.spec, job.state.result, query.variant)
    return await deliver(call, content, query.delivery)
