"""``/v1/videos/{id}/lineage``: what a video was edited from."""

from typing import Literal

from fastapi import APIRouter, Response

from schemas.attention import TransferSpec
from schemas.base import Frozen
from schemas.errors import NotFound
from schemas.jobs import Job
from service.request.auth import Call
from service.request.dependencies import CallDep, VideoIdDep
from service.wire.errors import COMMON, documented
from service.wire.replies import reply

router = APIRouter(prefix="/v1", tags=["edits"], responses=COMMON)


class Link(Frozen):
    """One source of the chain, with the settings that may differ along it. ``video_id``: None where
    it was named by prompt and seed, or where the video that would tell is deleted. ``exists``: the
    video is still there."""

    video_id: str | None
    exists: bool
    source_key: str
    prompt: str
    negative_prompt: str
    guidance_scale: float
    seed: int
    transfer: TransferSpec | None


class LineageList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[Link, ...]


@router.get(
    "/videos/{video_id:video}/lineage", response_model=LineageList, responses=documented(404)
)
async def get_lineage(video_id: VideoIdDep, call: CallDep) -> Response:
    """The chain of sources that a video was edited from, the video itself first."""
    job: Job | None = await call.state.jobs.get(call.project, video_id)
    assert job is not None
    named: str | None = video_id
    links = []
    for recipe in job.spec.recipe.chain():
        links.append(
            Link(
                video_id=named,
                exists=job is not None,
                source_key=recipe.key(call.project),
                prompt=recipe.generation.prompt,
                negative_prompt=recipe.generation.negative_prompt,
                guidance_scale=recipe.generation.guidance_scale,
                seed=recipe.generation.seed,
                transfer=recipe.transfer,
            )
        )
        named = job.spec.source_video_id if job else None
        job = await _job_or_none(call, named)
    return reply(LineageList(data=tuple(links)))


async def _job_or_none(call: Call, video_id: str | None) -> Job | None:
    try:
        return await call.state.jobs.get(call.project, video_id) if video_id else None
    except NotFound:
        return None
