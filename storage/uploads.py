"""The uploads of each project: listed, counted and kept for as long as they are used.

An upload's bytes lie in the object store; its record, and which sources were made of it, in Redis.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from schemas.errors import NotFound
from schemas.films.upload import Upload
from storage.lua import Scripts


class Removed(NamedTuple):
    """``source_keys``: of the sources that were made of it, whose attention may be stored."""

    upload: Upload
    source_keys: Sequence[str]


class UploadStore:
    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def add(self, project: str, upload: Upload, *, source_key: str = "") -> Upload:
        """List it; one that is listed already is counted once. ``source_key``: made of it."""
        record = await self._scripts.run(
            "upload_add",
            project,
            upload.id,
            upload.model_dump_json(),
            upload.bytes,
            "" if upload.expires_at is None else upload.expires_at,
            source_key,
        )
        return Upload.model_validate_json(record)

    async def find(self, project: str, id: str) -> Upload | None:
        record: Any = await self._redis.hget(f"{self._prefix}:uploads:{project}", id)
        return None if record is None else Upload.model_validate_json(record)

    async def get(self, project: str, id: str, param: str = "upload_id") -> Upload:
        """Raises NotFound; another project's upload is not found either."""
        upload = await self.find(project, id)
        if upload is None:
            raise NotFound(f"no upload {id!r}", param=param)
        return upload

    async def list(self, project: str) -> Sequence[Upload]:
        """All of them, the newest first."""
        records: Any = await self._redis.hvals(f"{self._prefix}:uploads:{project}")
        uploads = [Upload.model_validate_json(record) for record in records]
        return sorted(uploads, key=lambda each: (each.created_at, each.id), reverse=True)

    async def remove(self, project: str, id: str, *, before: float | None = None) -> Removed | None:
        """Unlist it; the caller deletes its object. None: it is not listed, or, where ``before``
        is given, does not expire before that time."""
        found = await self._scripts.run(
            "upload_remove", project, id, "" if before is None else int(before)
        )
        if not found:
            return None
        record, *keys = found
        return Removed(Upload.model_validate_json(record), [key.decode() for key in keys])

    async def list_expired(self, now: float, limit: int = 100) -> Sequence[tuple[str, str]]:
        """(project, id) of uploads past their expiry, the oldest first."""
        found: Any = await self._redis.zrangebyscore(
            f"{self._prefix}:upload_expiring", "-inf", now, start=0, num=limit
        )
        pairs = [each.decode().split(" ", 1) for each in found]
        return [(project, id) for project, id in pairs]
