"""Lists again what the index lost: artifacts that the object store has and Redis does not.

An artifact is published in the object store first. Where Redis then refuses its entry, or loses it,
nobody finds it, and it neither expires nor counts for a quota.
"""

import asyncio
import logging

from schemas.artifacts import Manifest, artifact_id
from storage.artifact_index import ArtifactIndex
from storage.objects.objects import ObjectStore
from storage.retention.artifact_files import read_manifests

log = logging.getLogger("retake.retention")


async def repair(objects: ObjectStore, index: ArtifactIndex) -> int:
    """List every published artifact that is not listed, oldest first; how many there were.

    Reads the manifests of those alone, so it costs little where nothing is missing. What is being
    deleted stays unlisted. Raises ObjectStoreError and RedisError: run it again later.
    """
    keys = await asyncio.to_thread(lambda: [info.key for info in objects.list("manifests")])
    named = {name: key for key in keys if (name := _name_of(key)) is not None}
    missing = [named[name] for name in await index.list_missing(list(named))]
    added = 0
    for manifest in await asyncio.to_thread(_read, objects, missing):
        if await index.add(manifest, unless_removed=True):
            added += 1
    if added:
        log.warning("artifacts=%d were stored and not listed: they are now", added)
    return added


def _name_of(key: str) -> tuple[str, str] | None:
    """Project and id of the artifact of a manifest's key; None: it is none."""
    folders = key.removesuffix(".json").split("/")
    if len(folders) != 4 or not key.endswith(".json"):
        return None
    _, project, source_key, capture_key = folders
    return project, artifact_id(source_key, capture_key)


def _read(objects: ObjectStore, keys: list[str]) -> list[Manifest]:
    # without packs: in the manifest of a large capture they take megabytes
    found = [each.model_copy(update={"packs": ()}) for each in read_manifests(objects, keys)]
    return sorted(found, key=lambda each: each.created_at)
