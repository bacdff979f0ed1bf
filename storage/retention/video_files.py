"""Deletes what dead workers left behind: files of no video, journals of jobs that have ended."""

import asyncio
import time
from collections import defaultdict

from schemas.errors import NotFound
from schemas.jobs import Job
from storage.jobs.job_store import JobStore
from storage.objects.objects import ObjectInfo, ObjectStore

FOLDERS = ("videos", "journal", "maps", "analyses")  # all: folder/project/…/job id/…


async def collect_videos(objects: ObjectStore, jobs: JobStore, older_than_s: float) -> int:
    """Delete what belongs to no video and no job may still use; how many objects.

    ``older_than_s``: only files of that age; longer than an upload takes. Raises ObjectStoreError
    and RedisError: run it again later.
    """
    before = time.time() - older_than_s
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for info in await asyncio.to_thread(_list, objects):
        if info.modified_at <= before:
            found[_owner(info.key)].append(info.key)
    orphans: list[str] = []
    for (project, video_id), keys in found.items():
        job = await _job(jobs, project, video_id)
        orphans += [key for key in keys if not _in_use(key, job)]
    await asyncio.to_thread(objects.delete, *orphans)
    return len(orphans)


def _list(objects: ObjectStore) -> list[ObjectInfo]:
    return [info for folder in FOLDERS for info in objects.list(folder)]


def _owner(key: str) -> tuple[str, str]:
    """Project and job id. In the key of a map's picture the artifact comes before the job."""
    folder, project, first, second, *_ = key.split("/")
    return project, second if folder == "maps" else first


async def _job(jobs: JobStore, project: str, video_id: str) -> Job | None:
    try:
        return await jobs.get(project, video_id)
    except NotFound:
        return None


def _in_use(key: str, job: Job | None) -> bool:
    """A job's files are those of its newest claim; a journal is kept while its job runs.

    What a video starts from stays as long as its record: edits of it need it, and a failed job may
    be queued again.
    """
    if job is not None and f"/{job.spec.id}/pictures/" in key:
        return True
    if job is None or job.state.status == "failed":
        return False
    if key.startswith("journal/"):
        return job.state.status != "completed"
    return f"/{job.spec.id}/{job.state.fence}/" in key
