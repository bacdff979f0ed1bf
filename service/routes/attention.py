"""``/v1/attention``: what is kept of generations' attention, and what keeping it would take."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from schemas.artifact_summary import Artifact
from schemas.attention import CaptureSpec
from schemas.base import Frozen
from schemas.estimate import Estimate, estimate
from schemas.maps import MapView
from schemas.recipes import Recipe
from schemas.requests import EstimateAttention
from service.jobs.captures import capture_spec
from service.jobs.deletion import remove_artifact
from service.jobs.maps import picture_of
from service.jobs.resolve import anchored, new_generation
from service.request.bodies import BodyOf
from service.request.dependencies import CallDep
from service.wire.content import bytes_reply
from service.wire.errors import COMMON, documented
from service.wire.examples import ARTIFACT_ID
from service.wire.openapi import accepts
from service.wire.replies import reply

router = APIRouter(prefix="/v1/attention", tags=["attention"], responses=COMMON)

ArtifactId = Annotated[str, Path(examples=[ARTIFACT_ID])]
PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
EXAMPLES = {
    "of a generation": {
        "size": "96x64",
        "num_frames": 17,
        "capture": {"form": None, "max_bytes": 1_000_000},
        "transfer": {"layers": [3]},
    },
    "of a video": {"video": {"id": "video_0199c0ffee42"}},
}


class ShownArtifact(Artifact):
    object: Literal["attention.artifact"] = "attention.artifact"


class ArtifactWithUses(ShownArtifact):
    """``videos``: those that made the artifact or were edited from it."""

    videos: tuple[str, ...]


class ArtifactList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[ShownArtifact, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ArtifactDeleted(Frozen):
    id: str
    deleted: Literal[True] = True
    object: Literal["attention.artifact.deleted"] = "attention.artifact.deleted"


class ArtifactsQuery(Frozen):
    """A page: up to ``limit`` artifacts later in ``order`` than the id ``after``."""

    after: Annotated[str | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


class MapQuery(MapView):
    """``wait``: seconds to hold the answer back for the picture to be made."""

    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60


MAP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": PNG, "description": "The picture"},
    206: {"content": PNG, "description": "The range of its bytes that was asked for"},
    304: {"description": "The ETag of If-None-Match still holds"},
    **documented(400, 404, 416),
}


@router.get("/artifacts", response_model=ArtifactList, responses=documented(400, 404))
async def list_artifacts(call: CallDep, query: Annotated[ArtifactsQuery, Query()]) -> Response:
    """The project's artifacts, newest first unless ``order`` is ``asc``."""
    found, has_more = await call.state.artifacts.list(
        call.project, after=query.after, limit=query.limit, order=query.order
    )
    data = tuple(ShownArtifact(**artifact.model_dump()) for artifact in found)
    return reply(
        ArtifactList(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=has_more,
        )
    )


@router.get("/artifacts/{artifact_id}", response_model=ArtifactWithUses, responses=documented(404))
async def get_artifact(artifact_id: ArtifactId, call: CallDep) -> Response:
    """What an artifact holds, how large it is, when it expires, and which videos use it."""
    found = await call.state.artifacts.get(call.project, artifact_id)
    videos = await call.state.artifacts.videos(call.project, artifact_id)
    return reply(ArtifactWithUses(**found.model_dump(), videos=tuple(videos)))


@router.get("/artifacts/{artifact_id}/map", response_class=Response, responses=MAP_RESPONSES)
async def get_map(
    artifact_id: ArtifactId, call: CallDep, query: Annotated[MapQuery, Query()]
) -> Response:
    """A PNG of one map: rows are queries, columns keys, both in the order of the tokens.

    A worker makes it when it is first asked for, and the answer waits for that.
    """
    artifact = await call.state.artifacts.get(call.project, artifact_id)
    view = MapView(**query.model_dump(exclude={"wait"}))
    wait_s = min(query.wait, call.state.settings.max_wait_s)
    content = await picture_of(call, artifact, view, wait_s)
    info = await asyncio.to_thread(call.state.objects.stat, content.key)
    return bytes_reply(call.request, call.state.objects, content, info)


@router.delete(
    "/artifacts/{artifact_id}", response_model=ArtifactDeleted, responses=documented(404)
)
async def delete_artifact(artifact_id: ArtifactId, call: CallDep) -> Response:
    """Delete an artifact; edits of its source then replay it."""
    await call.state.artifacts.get(call.project, artifact_id)
    await remove_artifact(call.state, call.project, artifact_id)
    return reply(ArtifactDeleted(id=artifact_id))


@router.post(
    "/estimate",
    response_model=Estimate,
    responses=documented(400, 404, 408, 413, 415),
    openapi_extra=accepts(EstimateAttention, EXAMPLES, form=False),
)
async def estimate_attention(
    call: CallDep,
    body: Annotated[EstimateAttention, Depends(BodyOf(EstimateAttention))],
) -> Response:
    """Bytes of each form and the cost of an edit with it; nothing runs."""
    if body.video is not None:
        recipe = (await call.state.jobs.get(call.project, body.video.id)).spec.recipe
        card = await call.state.catalogue.pick(recipe.generation.model, None)
    else:
        card = await call.state.catalogue.pick(body.model, call.state.settings.default_model)
        recipe = Recipe(generation=new_generation(body, body.prompt or "estimate", card))
    capture = capture_spec(body.capture, call.state.settings, card, recipe) or CaptureSpec(
        form="qk"
    )
    transfer = anchored(body.transfer, card, recipe.generation)
    return reply(estimate(capture, transfer, card, recipe))
