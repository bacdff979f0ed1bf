"""Edits: a source's shot with another prompt, the source named by path, by id, or by prompt."""

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from schemas.errors import InvalidRequest
from schemas.films.upload import upload_id
from schemas.jobs import JobSpec
from schemas.requests import BatchEdit, EditVideo, RemixVideo
from schemas.videos import Video, VideoList
from service.jobs.captures import capture_spec
from service.jobs.edits import (
    at_element,
    completed_source,
    edit_of,
    edit_spec,
    remix_of,
    source_recipe,
    with_defaults,
)
from service.jobs.film_sources import film_source
from service.jobs.pictures import RequestPictures
from service.jobs.submission import accept
from service.jobs.uploads import store_upload
from service.request.auth import Call
from service.request.bodies import BodyOf
from service.request.dependencies import CallDep, VideoIdDep
from service.request.films import receive_form, receiving
from service.wire.errors import COMMON, documented
from service.wire.forms import picture_parts
from service.wire.openapi import accepts
from service.wire.replies import list_reply, video_reply
from service.wire.upload_examples import UPLOAD_ID

router = APIRouter(prefix="/v1", tags=["edits"], responses=COMMON)

REMIX_EXAMPLES = {
    "short": {"prompt": "A red car is driving on the highway."},
    "part of the attention": {
        "prompt": "A truck is driving on the highway.",
        "transfer": {"layers": [3], "steps": {"start": 0, "stop": 10}, "strength": 0.8},
    },
}
EDIT_EXAMPLES = {
    "by id": {"prompt": "A red car is driving.", "video": {"id": "video_0199c0ffee42"}},
    "of an uploaded film": {
        "prompt": "A red car is driving on the highway.",
        "source_prompt": "A car is driving on the highway.",
        "video": {"id": UPLOAD_ID},
        "fit": "pad",
        "start_s": 1.5,
    },
    "in a part of the source": {
        "prompt": "A red car is driving.",
        "video": {"id": "video_0199c0ffee42"},
        "region": {"boxes": [{"x": 16, "y": 24, "width": 64, "height": 32}], "softness": 4},
    },
    "by prompt and seed": {
        "prompt": "A red car is driving on the highway.",
        "source": {"prompt": "A car is driving on the highway.", "seed": 7},
    },
}
BATCH_EXAMPLES = {
    "two": {
        "priority": "low",
        "edits": [
            {"prompt": "A red car is driving on the highway."},
            {"prompt": "A car is driving on the highway in the winter.", "priority": "high"},
        ],
    }
}


class EditBody(BodyOf[EditVideo]):
    """The body of an edit. In a form, ``video`` may be a file: it becomes an upload of the project,
    and the body then names that, as JSON would."""

    def __init__(self) -> None:
        super().__init__(EditVideo, pictures=3)

    async def __call__(self, request: Request, call: CallDep) -> EditVideo:  # type: ignore[override]  # it asks who calls
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            return await super().__call__(request)
        async with receiving(call.state.settings) as film:
            files = picture_parts(self.model.model_fields, call.state.settings.max_picture_bytes)
            fields = await receive_form(request, call.state.settings, FILM_FIELD, film, files)
            for file in files.values():
                file.put_into(fields)
            if film.given:
                if FILM_FIELD in fields:
                    raise InvalidRequest("video: was given twice", param=FILM_FIELD)
                fields[FILM_FIELD] = {"id": upload_id(film.sha256)}
            fields = self.translated(fields)
            body = self.validate(fields, json.dumps(fields).encode(), strict=False)
            if film.given:  # only now: what is refused is not stored
                await store_upload(call, film, FILM_FIELD, pictures=False)
            return body


FILM_FIELD = "video"
REFUSALS = documented(400, 404, 408, 409, 413, 415, 422, 429, 503)


@router.post(
    "/videos/edits",
    response_model=Video,
    responses=REFUSALS,
    openapi_extra=accepts(EditVideo, EDIT_EXAMPLES),
)
async def edit_video(
    call: CallDep,
    body: Annotated[EditVideo, Depends(EditBody())],
) -> Response:
    """Queue an edit of a source named by id, or by the prompt and seed that make it, or of an
    uploaded film: ``video`` is then the file itself, or an upload's id."""

    async def make(pictures: RequestPictures) -> list[JobSpec]:
        if body.video is not None and body.video.is_upload:
            return [await _edit_of_film(call, pictures, body)]
        if body.video is not None:
            source = await completed_source(call, body.video.id, "video.id")
            return [await edit_of(call, pictures, source, body, body)]
        assert body.source is not None  # the schema asks for one of the two
        recipe = await source_recipe(call, pictures, body.source, body.model)
        return [await edit_spec(call, pictures, recipe, body, body)]

    (job,) = await accept(call, body, make)
    return await video_reply(call.state.jobs, job)


async def _edit_of_film(call: Call, pictures: RequestPictures, body: EditVideo) -> JobSpec:
    recipe, card, shown = await film_source(call, body)
    kept = capture_spec(body.capture, call.state.settings, card, recipe)
    options: dict[str, Any] = {"film": shown, "film_capture": kept}
    return await edit_spec(call, pictures, recipe, body, body, **options)


@router.post(
    "/videos/{video_id:video}/remix",
    response_model=Video,
    responses=REFUSALS,
    openapi_extra=accepts(RemixVideo, REMIX_EXAMPLES),
)
async def remix_video(
    video_id: VideoIdDep,
    call: CallDep,
    body: Annotated[RemixVideo, Depends(BodyOf(RemixVideo, pictures=2))],
) -> Response:
    """Queue an edit of the video that the path names."""

    async def make(pictures: RequestPictures) -> list[JobSpec]:
        source = await completed_source(call, video_id, "video_id")
        return [await remix_of(call, pictures, source, body)]

    (job,) = await accept(call, body, make)
    return await video_reply(call.state.jobs, job)


@router.post(
    "/videos/{video_id:video}/edits",
    response_model=VideoList,
    responses=REFUSALS,
    openapi_extra=accepts(BatchEdit, BATCH_EXAMPLES, form=False),
)
async def batch_edit(
    video_id: VideoIdDep,
    call: CallDep,
    body: Annotated[BatchEdit, Depends(BodyOf(BatchEdit, pictures=2))],
) -> Response:
    """Queue many edits of one source, all or none; its attention is read once for all of them."""

    async def make(pictures: RequestPictures) -> list[JobSpec]:
        source = await completed_source(call, video_id, "video_id")
        batch_id = f"batch_{uuid.uuid4().hex}"
        shared = body.model_dump(exclude={"edits"}, exclude_unset=True)
        specs = []
        for number, edit in enumerate(body.edits):
            with at_element("edits", number, but=shared.keys() - edit.model_fields_set):
                each = with_defaults(edit, shared)
                specs.append(await remix_of(call, pictures, source, each, batch_id=batch_id))
        return specs

    return await list_reply(call.state.jobs, await accept(call, body, make), has_more=False)
