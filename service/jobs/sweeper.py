"""The sweeper: deletes expired videos and artifacts, and what crashed uploads left behind; lists
artifacts that the index lacks; ends jobs that did not start in time.

Any number of processes may run it; a lock that expires gives each round to one of them.
"""

import asyncio
import contextlib
import logging
import time

from schemas.errors import NotFound
from service.jobs.deletion import remove_files, remove_upload, remove_video
from service.jobs.resumable import forget
from service.request.app_state import AppState
from storage.retention.index_repair import repair
from storage.retention.retention import Retention, RetentionSettings
from storage.retention.upload_files import collect_pieces, collect_uploads
from storage.retention.video_files import collect_videos

log = logging.getLogger("retake.service")
BATCH = 100
OVERDUE_S = 1.0
ORPHAN_ROUNDS = 60  # every object is listed in one round of so many


async def sweep_for_ever(state: AppState) -> None:
    """A round every ``sweep_s`` seconds. Raises RedisError, ObjectStoreError: run it again."""
    settings = state.settings
    lock = f"{settings.storage.redis_prefix}:sweeping"
    retention = Retention(
        state.objects,
        state.artifacts,
        RetentionSettings(
            quota_bytes=settings.attention_quota_bytes or None, orphan_age_s=settings.orphan_age_s
        ),
    )
    while True:
        # a little less than a round, so that this process's own last lock has expired
        mine = await state.redis.set(lock, "1", nx=True, px=round(900 * settings.sweep_s))
        if mine:
            await expire_jobs(state)
            await expire_uploads(state)
            await expire_unfinished(state)
            await retention.expire()
            rounds = await state.redis.incr(f"{lock}:rounds")
            if rounds % ORPHAN_ROUNDS == 1:
                await collect_videos(state.objects, state.jobs, settings.orphan_age_s)
                await collect_uploads(state.objects, state.uploads, settings.orphan_age_s)
                await collect_pieces(state.objects, state.resumable, settings.orphan_age_s)
                await retention.sweep()
                await repair(state.objects, state.artifacts)
        await asyncio.sleep(settings.sweep_s)


async def end_overdue_for_ever(state: AppState) -> None:
    """Fail what did not start within its ``start_timeout_s``, to the second. Raises RedisError."""
    while True:
        await state.maintenance.end_overdue()
        await asyncio.sleep(OVERDUE_S)


async def expire_jobs(state: AppState) -> int:
    """Delete the videos, analyses and pictures of maps that have expired; how many."""
    removed = 0
    while jobs := await state.maintenance.list_expired(BATCH):
        for job in jobs:
            try:
                if job.spec.kind == "video":
                    await remove_video(state, job.spec.project, job.spec.id)
                else:
                    await remove_files(state, job.spec.project, job.spec.id)
                removed += 1
            except NotFound:
                continue  # another process or its owner deleted it meanwhile
    return removed


async def expire_unfinished(state: AppState) -> int:
    """Drop the uploads in pieces of which none has come for as long as they are kept; how many."""
    removed, now = 0, time.time()
    while expired := await state.resumable.list_expired(now, BATCH):
        for project, id in expired:
            removed += await forget(state, project, id, before=now)
        if len(expired) < BATCH:
            break
    return removed


async def expire_uploads(state: AppState) -> int:
    """Delete the uploads that have not been used for as long as they are kept; how many."""
    removed, now = 0, time.time()
    while expired := await state.uploads.list_expired(now, BATCH):
        for project, id in expired:
            with contextlib.suppress(NotFound):  # deleted, or used again meanwhile
                await remove_upload(state, project, id, before=now)
                removed += 1
        if len(expired) < BATCH:
            break
    return removed
