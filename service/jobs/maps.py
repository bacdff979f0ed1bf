"""Pictures of attention maps: queueing a map job or joining one, and waiting for its picture.

A picture is made once: the job's id says what it shows, and its record says where it is stored.
"""

import contextlib
import logging
import time
from math import prod

from schemas.artifact_summary import Artifact
from schemas.errors import (
    Forbidden,
    InvalidRequest,
    JobFailed,
    NotFound,
    SourceMismatch,
    Unavailable,
    Unsupported,
)
from schemas.jobs import Job, JobError, JobSpec
from schemas.maps import STORED_FORMS, Look, MapView, check_place, map_id
from service.background.event_streams import ENDED
from service.jobs.pictures import RequestPictures
from service.jobs.submission import open_jobs_limit
from service.request.auth import Call
from service.wire.content import Content
from storage.jobs.records import artifact_not_found

log = logging.getLogger("retake.service")
REFUSALS = (InvalidRequest.code, Unsupported.code, SourceMismatch.code)


async def picture_of(call: Call, artifact: Artifact, view: MapView, wait_s: float) -> Content:
    """The picture of ``view``; its job has ``wait_s`` seconds to end.

    Raises Unavailable if that was too short (the next call joins the same job), the error that
    the job failed with, Forbidden if the picture does not exist and the key may only read, and
    what ``check_view`` and the project's limits raise.
    """
    tokens = prod(artifact.grid)
    view = view.model_copy(update={"bins": min(view.bins, tokens)})
    look = Look(artifact_id=artifact.id, view=view)
    id = map_id(call.project, look)
    job: Job | None = None
    with contextlib.suppress(NotFound):
        job = await call.state.jobs.get(call.project, id)
    if job is None or job.state.status == "failed":
        job = await _submit(call, artifact, look, id)
    if job.state.status not in ENDED and wait_s:
        call.state.streams.check()
        try:
            job = await call.state.streams.wait_for_end(job, wait_s)
        except NotFound:  # the artifact was deleted, and its jobs with it
            raise artifact_not_found(artifact.id) from None
    if job.state.error is not None:
        raise _to_error(job.state.error)
    if job.state.map is None:
        raise Unavailable(
            f"the map is {job.state.status.replace('_', ' ')}; the same request again joins it",
            code="map_not_ready",
        )
    return Content(job.state.map.map_key, "image/png", f"{id}.png")


async def _submit(call: Call, artifact: Artifact, look: Look, id: str) -> Job:
    """Queue the job, unless another request just did, or it failed a moment ago."""
    if "write" not in call.scopes:
        raise Forbidden(
            f"this key's scopes are {', '.join(call.scopes)}; to have a map made needs write"
        )
    await check_view(call, artifact, look.view)
    state = call.state
    spec = JobSpec(
        id=id,
        project=call.project,
        recipe=artifact.recipe,
        source_key=artifact.source_key,
        priority="high",  # a client waits for it, and it takes a few steps at most
        created_at=int(time.time()),
        retention_s=state.settings.map_retention_s or None,
        traceparent=state.tracing.traceparent(call.request),
        look=look,
    )
    job = await state.jobs.submit_map(
        await _with_pictures(call, spec, artifact),
        retry_s=state.settings.map_retry_s,
        max_open=await open_jobs_limit(call),
    )
    log.info("%s %s map", job.state.status, id, extra={"project": call.project})
    return job


async def _with_pictures(call: Call, spec: JobSpec, artifact: Artifact) -> JobSpec:
    """The pictures that ``spec`` starts from, of a video that used the artifact, stored for it."""
    if not spec.pictures():
        return spec
    pictures = RequestPictures(call)
    for video_id in await call.state.artifacts.videos(call.project, artifact.id):
        with contextlib.suppress(NotFound):
            pictures.keep((await call.state.jobs.get(call.project, video_id)).spec)
    return (await pictures.store([spec]))[0]


async def check_view(call: Call, artifact: Artifact, view: MapView) -> None:
    """Raise InvalidRequest, Unsupported or SourceMismatch if the map cannot be shown."""
    generation = artifact.recipe.generation
    card = await call.state.catalogue.pick(generation.model, None)
    if card.fingerprint != generation.fingerprint:
        raise SourceMismatch(
            f"artifact_id: it was made by another revision of model {card.id!r} than is served; "
            "its maps cannot be shown",
            param="artifact_id",
        )
    check_place(view.place, card, generation)
    if artifact.recipe.is_plain:
        return  # what is not stored is made again
    if artifact.form not in STORED_FORMS:
        raise Unsupported(
            f"artifact_id: of an edit or an uploaded video, maps are shown from form "
            f"{' or '.join(STORED_FORMS)}; this is {artifact.form}",
            param="artifact_id",
        )
    kept = {"layer": artifact.layers, "step": artifact.steps, "branch": artifact.branches}
    for name, values in kept.items():
        value = getattr(view, name)
        if value not in values:
            raise InvalidRequest(
                f"{name}: {value!r} is not kept, and maps of an edit or an uploaded video are only "
                f"shown from what is; allowed is {', '.join(map(str, values))}",
                param=name,
            )


def _to_error(error: JobError) -> InvalidRequest | JobFailed:
    if error.code in REFUSALS:
        return InvalidRequest(error.message, code=error.code)
    return JobFailed(error.message, code=error.code)
