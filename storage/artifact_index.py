"""The artifacts of each project: listed, used, pinned, and captured by one worker at a time.

The object store is authoritative: the index can be rebuilt from its manifests
(``storage.retention.index_repair``). An edit whose artifact is deleted meanwhile replays its
source.
"""

from collections.abc import Sequence
from typing import Any, Literal

from redis.asyncio import Redis

from schemas.artifact_summary import Artifact, artifact_of
from schemas.artifacts import Manifest, artifact_id
from schemas.errors import NotFound
from storage.jobs.records import artifact_not_found
from storage.lua import Scripts

DELETION_MS = 60_000  # how long deleting an artifact's objects may take
_PAGE = 500


class ArtifactIndex:
    """``holder``: who pins or captures; a name that no other attempt at a job has."""

    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def add(
        self, manifest: Manifest, *, video_id: str = "", unless_removed: bool = False
    ) -> bool:
        """List a published artifact, made by ``video_id``; adding it again is no error.

        False: with ``unless_removed``, it was removed so lately that its objects may be going.
        """
        artifact = artifact_of(manifest)
        done = await self._scripts.run(
            "artifact_add",
            manifest.project,
            artifact.id,
            artifact.model_dump_json(),
            artifact.stored_bytes,
            "" if artifact.expires_at is None else artifact.expires_at,
            video_id,
            int(unless_removed),
        )
        return bool(done)

    async def list_missing(self, names: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """Of artifacts by project and id, those that are not listed."""
        missing: list[tuple[str, str]] = []
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            async with self._redis.pipeline(transaction=False) as pipe:
                for project, id in page:
                    pipe.exists(self._key("artifact", project, id))
                listed = await pipe.execute()
            missing += [name for name, found in zip(page, listed, strict=True) if not found]
        return missing

    async def get(self, project: str, id: str) -> Artifact:
        """Raises NotFound; another project's artifact is not found either."""
        summary = await self._call("HGET", self._key("artifact", project, id), "summary")
        if summary is None:
            raise artifact_not_found(id)
        return Artifact.model_validate_json(summary)

    async def list(
        self,
        project: str,
        *,
        after: str | None = None,
        limit: int = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> tuple[Sequence[Artifact], bool]:
        """A page, and whether more follow; raises NotFound for an unknown ``after``."""
        page = await self._scripts.run("artifact_list", project, after or "", limit, order)
        if not page:
            raise NotFound(f"after: attention {after!r} does not exist", param="after")
        return [Artifact.model_validate_json(summary) for summary in page[1:]], bool(page[0])

    async def videos(self, project: str, id: str) -> Sequence[str]:
        """The videos that made the artifact or were edited from it, by id."""
        found = await self._call("SMEMBERS", self._key("artifact_videos", project, id))
        return sorted(each.decode() for each in found)

    async def touch(self, project: str, id: str, *, video_id: str = "") -> None:
        """Note that ``video_id`` used it just now."""
        await self._scripts.run("artifact_touch", project, id, video_id)

    async def remove(self, project: str, id: str, *, even_pinned: bool = False) -> bool:
        """Unlist it; the caller then deletes its objects. False: a running edit has pinned it."""
        source_key = id.split("_")[1]
        deletion_ms = "" if even_pinned else DELETION_MS
        return bool(
            await self._scripts.run(
                "artifact_remove", project, id, source_key, deletion_ms, DELETION_MS
            )
        )

    async def pin(self, project: str, source_key: str, holder: str, ttl_s: float) -> bool:
        """Keep the source's artifacts. False: one of them is being deleted, do not read it."""
        ttl_ms = round(1000 * ttl_s)
        return bool(await self._scripts.run("artifact_pin", project, source_key, holder, ttl_ms))

    async def unpin(self, project: str, source_key: str, holder: str) -> None:
        await self._call("ZREM", self._key("artifact_pins", project, source_key), holder)

    async def begin_capture(
        self,
        project: str,
        source_key: str,
        capture_key: str,
        holder: str,
        ttl_s: float,
        *,
        successor_of: str = "",
    ) -> bool:
        """Reserve a capture for ``ttl_s`` seconds. False: another worker is making it.

        ``successor_of``: a video whose attempts before this one are dead: what one of them, a
        holder ``<video>/…``, had reserved is taken over. This only saves work; the object store
        decides who publishes first.
        """
        id, ttl_ms = artifact_id(source_key, capture_key), round(1000 * ttl_s)
        return bool(
            await self._scripts.run("capture_begin", project, id, holder, ttl_ms, successor_of)
        )

    async def end_capture(
        self, project: str, source_key: str, capture_key: str, holder: str
    ) -> None:
        await self._scripts.run(
            "capture_end", project, artifact_id(source_key, capture_key), holder
        )

    async def is_being_captured(self, project: str, id: str) -> bool:
        """Whether a worker is making it now."""
        return bool(await self._call("EXISTS", self._key("capture", project, id)))

    async def usage(self) -> dict[str, int]:
        """Stored bytes of each project."""
        found = await self._call("HGETALL", self._key("artifact_bytes"))
        return {project.decode(): int(size) for project, size in found.items()}

    async def list_least_used(self, project: str, limit: int) -> Sequence[str]:
        """Ids, the longest unused first."""
        found = await self._call("ZRANGE", self._key("artifact_used", project), 0, limit - 1)
        return [id.decode() for id in found]

    async def list_expired(self, now: float, limit: int = 100) -> Sequence[tuple[str, str]]:
        """(project, id) of artifacts past their expiry, the oldest first."""
        found = await self._call(
            "ZRANGEBYSCORE", self._key("artifact_expiring"), "-inf", now, "LIMIT", 0, limit
        )
        pairs = [each.decode().split(" ", 1) for each in found]
        return [(project, id) for project, id in pairs]

    async def _call(self, *command: str | int | float) -> Any:
        return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))
