"""Deletes artifacts that expired or exceed their project's quota, and what crashes left behind.

``Retention.sweep`` may run in any process, and in several at once. It deletes nothing that a
running edit has pinned, and no pack that a manifest names.
"""

import asyncio
import logging
import time
from typing import Annotated, NamedTuple

from pydantic import Field

from schemas.artifacts import artifact_id, parse_manifest
from schemas.base import Frozen
from schemas.errors import ArtifactCorrupt, ArtifactTooNew
from storage.artifact_index import ArtifactIndex
from storage.objects.objects import ObjectMissing, ObjectStore
from storage.retention.artifact_files import delete_artifact

log = logging.getLogger("retake.retention")

Seconds = Annotated[float, Field(gt=0)]


class RetentionSettings(Frozen):
    """``quota_bytes``: of each project's artifacts, as stored; None: no limit.

    ``orphan_age_s``: the age from which a pack without a manifest counts as left behind; longer
    than any generation takes. ``quarantine_age_s``: how long damaged artifacts are kept.
    """

    quota_bytes: Annotated[int, Field(ge=0)] | None = None
    orphan_age_s: Seconds = 24 * 3600
    quarantine_age_s: Seconds = 7 * 24 * 3600


class Swept(NamedTuple):
    """The numbers of artifacts, packs and uploads that were deleted."""

    expired: int = 0
    over_quota: int = 0
    orphans: int = 0
    unfinished: int = 0


class Retention:
    def __init__(
        self, objects: ObjectStore, index: ArtifactIndex, settings: RetentionSettings
    ) -> None:
        self._objects, self._index, self._settings = objects, index, settings

    async def sweep(self) -> Swept:
        """One round of everything. Raises ObjectStoreError and RedisError: run it again later."""
        expired, over_quota = await self.expire()
        swept = Swept(
            expired,
            over_quota,
            await self.collect(self._settings.orphan_age_s),
            await asyncio.to_thread(self._objects.abort_unfinished, self._settings.orphan_age_s),
        )
        await asyncio.to_thread(self._empty_quarantine)
        if any(swept):
            log.info("swept %s", " ".join(f"{k}={v}" for k, v in swept._asdict().items()))
        return swept

    async def expire(self) -> tuple[int, int]:
        """Delete what has expired and what is over its project's quota; how many of each.

        Cheap when there is nothing to delete: only the index is asked, so it may run often.
        """
        return await self._delete_expired(), await self._delete_over_quota()

    async def collect(self, older_than_s: float) -> int:
        """Delete packs that no manifest names and no worker is writing; how many."""
        collected = 0
        for folder, packs in (await asyncio.to_thread(self._old_packs, older_than_s)).items():
            _, project, source_key, capture_key = folder.split("/")
            if await self._index.is_being_captured(project, artifact_id(source_key, capture_key)):
                continue
            collected += await asyncio.to_thread(self._delete_unnamed, folder, packs)
        return collected

    async def _delete_expired(self) -> int:
        deleted = 0
        for project, id in await self._index.list_expired(time.time()):
            deleted += await self._delete(project, id)
        return deleted

    async def _delete_over_quota(self) -> int:
        quota, deleted = self._settings.quota_bytes, 0
        if quota is None:
            return 0
        for project, used in (await self._index.usage()).items():
            if used <= quota:
                continue
            for id in await self._index.list_least_used(project, 1000):
                deleted += await self._delete(project, id)
                if (await self._index.usage()).get(project, 0) <= quota:
                    break
        return deleted

    async def _delete(self, project: str, id: str) -> bool:
        if not await self._index.remove(project, id):
            return False  # a running edit reads it: another round will delete it
        log.info("artifact=%s project=%s deleted", id, project)
        await asyncio.to_thread(delete_artifact, self._objects, project, id)
        return True

    def _old_packs(self, older_than_s: float) -> dict[str, list[str]]:
        """Packs of that age by their folder."""
        before, folders = time.time() - older_than_s, dict[str, list[str]]()
        for info in self._objects.list("artifacts"):
            if info.modified_at < before:
                folders.setdefault(info.key.rpartition("/")[0], []).append(info.key)
        return folders

    def _delete_unnamed(self, folder: str, packs: list[str]) -> int:
        named = self._named_packs(folder)
        if named is None:
            return 0
        orphans = [pack for pack in packs if pack not in named]
        again = self._named_packs(folder) if orphans else set()  # published in between?
        orphans = [pack for pack in orphans if again is not None and pack not in again]
        self._objects.delete(*orphans)
        return len(orphans)

    def _named_packs(self, folder: str) -> set[str] | None:
        """The packs that the folder's manifest names; None: it cannot be read, delete nothing."""
        key = f"manifests/{folder.removeprefix('artifacts/')}.json"
        try:
            manifest = parse_manifest(self._objects.get(key))
        except ObjectMissing:
            return set()
        except (ArtifactCorrupt, ArtifactTooNew):
            return None
        return {f"{folder}/{pack.name}" for pack in manifest.packs}

    def _empty_quarantine(self) -> None:
        before = time.time() - self._settings.quarantine_age_s
        old = [i.key for i in self._objects.list("quarantine") if i.modified_at < before]
        self._objects.delete(*old)
