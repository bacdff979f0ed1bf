"""Deletes the bytes of uploads that were never listed, or whose listing is gone."""

import asyncio
import time

from storage.objects.objects import ObjectStore
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
