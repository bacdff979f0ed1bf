"""Deleting a job's record, its objects, and the artifacts that no other video uses."""

import asyncio
import logging

from schemas.errors import NotFound
from schemas.films.upload import upload_key
from schemas.jobs import Job
from service.jobs.captures import list_kept
from service.request.app_state import AppState
from storage.retention.artifact_files import delete_artifact

log = logging.getLogger("retake.service")


async def remove_video(state: AppState, project: str, video_id: str) -> Job:
    """Delete a video with all its objects; a running job is stopped. Raises NotFound.

    The record is deleted first: what a crash leaves behind then belongs to no video, and the
    sweeper deletes it.
    """
    job = await state.jobs.delete(project, video_id)
    log.info("deleted %s", video_id, extra={"video_id": video_id, "project": project})
    await asyncio.to_thread(state.objects.delete_prefix, job.spec.folder)
    for id in await list_kept(state.objects, project, job.spec.source_key):
        if not await _is_shared(state, project, id, job.spec.source_key):
            await remove_artifact(state, project, id)
    return job


async def remove_files(state: AppState, project: str, id: str) -> None:
    """Delete a job with what it made and nothing else uses: an analysis, a map's picture; a running
    one is stopped. Raises NotFound."""
    job = await state.jobs.delete(project, id)
    log.info("deleted %s", id, extra={"project": project})
    await asyncio.to_thread(state.objects.delete_prefix, job.spec.folder)


async def remove_artifact(state: AppState, project: str, id: str) -> None:
    """Delete an artifact, the pictures of its maps and the map jobs that make some.

    A running edit that reads the artifact replays its source instead.
    """
    await state.artifacts.remove(project, id, even_pinned=True)
    await asyncio.to_thread(delete_artifact, state.objects, project, id)
    log.info("deleted %s", id, extra={"project": project})


async def remove_upload(
    state: AppState, project: str, id: str, *, before: float | None = None
) -> None:
    """Delete an uploaded film, and the stored attention of the sources that were made of it.

    An edit that has not run by then fails. Raises NotFound; also, where ``before`` is given, if it
    does not expire before that time.
    """
    removed = await state.uploads.remove(project, id, before=before)
    if removed is None:
        raise NotFound(f"no upload {id!r}", param="upload_id")
    log.info("deleted %s", id, extra={"project": project})
    await asyncio.to_thread(state.objects.delete, upload_key(project, removed.upload.sha256))
    for source_key in removed.source_keys:
        for artifact in await list_kept(state.objects, project, source_key):
            await remove_artifact(state, project, artifact)


async def _is_shared(state: AppState, project: str, id: str, source_key: str) -> bool:
    """Whether another video of the same recipe still exists."""
    for video_id in await state.artifacts.videos(project, id):
        try:
            if (await state.jobs.get(project, video_id)).spec.source_key == source_key:
                return True
        except NotFound:
            continue
    return False
