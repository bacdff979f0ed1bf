"""``/v1/videos``: create, retrieve, list, delete, cancel."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from schemas.base import Frozen
from schemas.jobs import JobSpec, Status
from schemas.recipes import Recipe
from schemas.requests import CreateVideo, ModelId
from schemas.videos import Video, VideoDeleted, VideoList, video_of
from service.jobs.deletion import remove_video
from service.jobs.pictures import RequestPictures
from service.jobs.resolve import new_generation
from service.jobs.submission import accept, job_spec
from service.request.bodies import BodyOf
from service.request.dependencies import CallDep, VideoIdDep
from service.request.direct_route import DirectRoute
from service.wire.errors import COMMON, documented
from service.wire.openapi import accepts
from service.wire.replies import list_reply, note_wait, reply, video_reply

# a status is asked for more often than all else: clients poll
router = APIRouter(prefix="/v1", tags=["videos"], responses=COMMON, route_class=DirectRoute)

CREATE_EXAMPLES = {
    "short": {"prompt": "A car is driving on the highway.", "seed": 7},
    "every setting": {
        "prompt": "A car is driving on the highway.",
        "model": "scenes",
        "seed": 7,
        "size": "96x64",
        "num_frames": 17,
        "fps": 8,
        "num_inference_steps": 20,
        "guidance_scale": 4.0,
        "negative_prompt": "",
        "capture": {"form": "hidden"},
        "priority": "high",
    },
}


class PageQuery(Frozen):
    """A page: up to ``limit`` jobs later in ``order`` than the id ``after``."""

    after: Annotated[str | None, Field(max_length=128)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


class ListQuery(PageQuery):
    """A page: up to ``limit`` videos later in ``order`` than the id ``after``; ``status`` and
    ``model``: only those."""

    status: Status | None = None
    model: ModelId | None = None


class GetQuery(Frozen):
    """``wait``: seconds to hold the answer back for the video to end, up to the server's limit;
    where it waited less than was asked for, ``Preference-Applied`` says how long."""

    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0


@router.get("/videos/{video_id:video}", response_model=Video, responses=documented(400, 404))
async def get_video(
    video_id: VideoIdDep,
    call: CallDep,
    query: Annotated[GetQuery, Query()],
) -> Response:
    """A video as it is now; a failed one too is answered with 200."""
    job, place = await call.state.jobs.look(call.project, video_id)
    limit_s = call.state.settings.max_wait_s
    if query.wait:
        call.state.streams.check()
        job = await call.state.streams.wait_for_end(job, min(query.wait, limit_s))
        (place,) = await call.state.jobs.queue_positions([video_id])
    response = reply(video_of(job, place))
    note_wait(response, query.wait, limit_s)
    if job.state.status in ("queued", "in_progress"):
        response.headers["openai-poll-after-ms"] = str(call.state.settings.poll_after_ms)
    return response


@router.post(
    "/videos",
    response_model=Video,
    responses=documented(400, 408, 413, 415, 422, 429, 503),
    openapi_extra=accepts(CreateVideo, CREATE_EXAMPLES),
)
async def create_video(
    call: CallDep,
    body: Annotated[CreateVideo, Depends(BodyOf(CreateVideo, pictures=1))],
) -> Response:
    """Queue a generation; the same prompt, seed and settings give the same video."""

    async def make(pictures: RequestPictures) -> list[JobSpec]:
        card = await call.state.catalogue.pick(body.model, call.state.settings.default_model)
        generation = new_generation(body, body.prompt, card)
        recipe = Recipe(generation=await pictures.put_into(generation, body, card))
        return [job_spec(call, recipe, card, body)]

    (job,) = await accept(call, body, make)
    return await video_reply(call.state.jobs, job)


@router.get("/videos", response_model=VideoList, responses=documented(400, 404))
async def list_videos(call: CallDep, query: Annotated[ListQuery, Query()]) -> Response:
    """The project's videos, newest first unless ``order`` is ``asc``."""
    jobs, has_more = await call.state.jobs.list(
        call.project,
        after=query.after,
        limit=query.limit,
        order=query.order,
        status=query.status,
        model=query.model,
    )
    return await list_reply(call.state.jobs, jobs, has_more)


@router.delete("/videos/{video_id:video}", response_model=VideoDeleted, responses=documented(404))
async def delete_video(video_id: VideoIdDep, call: CallDep) -> Response:
    """Delete a video with all its objects; a running one is stopped first."""
    await remove_video(call.state, call.project, video_id)
    return reply(VideoDeleted(id=video_id))


@router.post("/videos/{video_id:video}/cancel", response_model=Video, responses=documented(404))
async def cancel_video(video_id: VideoIdDep, call: CallDep) -> Response:
    """Stop a queued job at once, a running one at its next step; an ended one stays as it is."""
    job = await call.state.jobs.request_cancel(call.project, video_id)
    return await video_reply(call.state.jobs, job)
