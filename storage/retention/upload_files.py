"""Deletes the bytes of uploads that were never listed, or whose listing is gone; whole or in
pieces."""

import asyncio
import time

from storage.objects.objects import ObjectStore
from storage.resumable_uploads import FOLDER as PIECES
from storage.resumable_uploads import ResumableUploads
from storage.uploads import UploadStore

FOLDER = "uploads"  # uploads/project/upload id


async def collect_uploads(objects: ObjectStore, uploads: UploadStore, older_than_s: float) -> int:
    """Delete what is no upload's; how many objects.

    ``older_than_s``: only files of that age; longer than an upload takes. Raises ObjectStoreError
    and RedisError: run it again later.
    """
    before = time.time() - older_than_s
    found = await asyncio.to_thread(lambda: list(objects.list(FOLDER)))
    orphans = []
    for info in found:
        _, project, id = info.key.split("/")
        if info.modified_at <= before and await uploads.find(project, id) is None:
            orphans.append(info.key)
    await asyncio.to_thread(objects.delete, *orphans)
    return len(orphans)


async def collect_pieces(
    objects: ObjectStore, resumable: ResumableUploads, older_than_s: float
) -> int:
    """Likewise for pieces of uploads that are no longer known."""
    before = time.time() - older_than_s
    found = await asyncio.to_thread(lambda: list(objects.list(PIECES)))
    orphans = []
    for info in found:
        _, project, id, _ = info.key.split("/")
        if info.modified_at <= before and await resumable.find(project, id) is None:
            orphans.append(info.key)
    await asyncio.to_thread(objects.delete, *orphans)
    return len(orphans)
