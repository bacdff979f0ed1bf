"""From a request for an edit to a job: finding its source, and making and checking its recipe."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import InvalidRequest, SourceNotReady
from schemas.jobs import Job, JobSpec
from schemas.recipes import Recipe
from schemas.requests import EditVideo, RemixVideo, Settings, SourceByPrompt
from service.jobs.pictures import RequestPictures
from service.jobs.regions import put_region
from service.jobs.resolve import edit_generation, edit_recipe, new_generation
from service.jobs.submission import job_spec
from service.request.auth import Call


async def completed_source(call: Call, video_id: str, param: str) -> Job:
    """The caller's completed video; raises NotFound, SourceNotReady."""
    job = await call.state.jobs.get(call.project, video_id)
    if job.state.status != "completed":
        raise SourceNotReady(
            f"{param}: {video_id!r} is {job.state.status}; a source must be completed",
            param=param,
        )
    return job


async def remix_of(
    call: Call, pictures: RequestPictures, source: Job, body: RemixVideo, **more: Any
) -> JobSpec:
    asked = Settings(
        negative_prompt=body.negative_prompt,
        guidance_scale=body.guidance_scale,
        guidance_scale_2=body.guidance_scale_2,
        fps=body.fps,
    )
    return await edit_of(call, pictures, source, asked, body, **more)


async def edit_of(
    call: Call,
    pictures: RequestPictures,
    source: Job,
    asked: Settings,
    body: EditVideo | RemixVideo,
    **more: Any,
) -> JobSpec:
    """An edit of one of the caller's videos, which the edit then names as its source."""
    pictures.keep(source.spec)
    result = source.state.result
    named = {
        "source_video_id": source.spec.id,
        "source_video_key": result.video_key if result is not None else None,
    }
    return await edit_spec(call, pictures, source.spec.recipe, asked, body, **named, **more)


async def edit_spec(
    call: Call,
    pictures: RequestPictures,
    source: Recipe,
    asked: Settings,
    body: EditVideo | RemixVideo,
    **more: Any,
) -> JobSpec:
    card = await call.state.catalogue.pick(asked.model or source.generation.model, None)
    edit = edit_generation(asked, body.prompt, source.generation, card)
    edit = await pictures.put_into(edit, body, card)
    recipe = edit_recipe(edit, source, body.transfer, card, call.state.settings.max_edit_chain)
    recipe = await put_region(call, pictures, recipe, body.region, card)
    return job_spec(call, recipe, card, body, **more)


async def source_recipe(
    call: Call, pictures: RequestPictures, source: SourceByPrompt, model: str | None
) -> Recipe:
    """The recipe of a source that is described by prompt and seed; it need not be stored."""
    if model and source.model and model != source.model:
        raise InvalidRequest(
            f"source.model: {source.model!r} differs from model {model!r}", param="source.model"
        )
    wanted, param = source.model or model, "source.model" if source.model else "model"
    card = await call.state.catalogue.pick(wanted, call.state.settings.default_model, param)
    generation = new_generation(source, source.prompt, card, "source.")
    return Recipe(generation=await pictures.put_into(generation, source, card, "source."))


def with_defaults(edit: RemixVideo, shared: dict[str, Any]) -> RemixVideo:
    """``edit`` with the batch's options where it has none of its own."""
    return RemixVideo.model_validate({**shared, **edit.model_dump(exclude_unset=True)})


@contextmanager
def at_element(name: str, number: int, *, but: Collection[str] = ()) -> Iterator[None]:
    """Errors within name the element of the batch that they are about; ``but``: fields whose value
    is the batch's own."""
    try:
        yield
    except InvalidRequest as error:
        if (error.param or "").partition(".")[0] in but:
            raise
        place = f"{name}.{number}"
        error.param = f"{place}.{error.param}" if error.param else place
        error.message = f"{place}.{error.message}"
        raise
