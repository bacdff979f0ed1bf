"""Uploads that arrive in pieces: how far each is, which every API process sees alike.

A piece is an object of its own in the object store until the whole is there. The length that was
announced counts as stored from the beginning, so that what fits then will fit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from schemas.errors import NotFound
from storage.lua import Scripts

FOLDER = "resumable"


class ResumableUpload(NamedTuple):
    """``length``, ``offset``: bytes, announced and arrived. ``parts``: names of the pieces, in
    order. ``upload_id``: of what it became; None: more is to come."""

    id: str
    length: int
    offset: int
    filename: str
    expires_at: int
    parts: Sequence[str]
    upload_id: str | None


def folder_of(project: str, id: str) -> str:
    """Where its pieces lie in the object store."""
    return f"{FOLDER}/{project}/{id}"


class ResumableUploads:
    def __init__(self, redis: Redis, *, prefix: str = "retake") -> None:
        self._redis, self._prefix = redis, prefix
        self._scripts = Scripts(redis, prefix)

    async def begin(
        self, project: str, id: str, *, length: int, filename: str, expires_at: int
    ) -> None:
        record: dict[Any, Any] = {
            "length": length, "offset": 0, "filename": filename, "expires_at": expires_at,
            "parts": "", "upload": "",
        }  # fmt: skip
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._record(project, id), mapping=record)
            pipe.hincrby(f"{self._prefix}:upload_bytes", project, length)
            pipe.zadd(f"{self._prefix}:resumable_expiring", {f"{project} {id}": expires_at})
            await pipe.execute()

    async def find(self, project: str, id: str) -> ResumableUpload | None:
        found: Any = await self._redis.hgetall(self._record(project, id))
        if not found:
            return None
        told = {name.decode(): value.decode() for name, value in found.items()}
        return ResumableUpload(
            id=id,
            length=int(told["length"]),
            offset=int(told["offset"]),
            filename=told["filename"],
            expires_at=int(told["expires_at"]),
            parts=told["parts"].split(),
            upload_id=told["upload"] or None,
        )

    async def get(self, project: str, id: str) -> ResumableUpload:
        """Raises NotFound; another project's is not found either."""
        found = await self.find(project, id)
        if found is None:
            raise NotFound(f"no unfinished upload {id[:80]!r}", param="id")
        return found

    async def append(
        self, project: str, id: str, *, offset: int, size_bytes: int, part: str, expires_at: int
    ) -> bool:
        """Note a piece that is stored. False: the upload is gone, or no longer at ``offset``."""
        run = self._scripts.run
        return bool(
            await run("resumable_append", project, id, offset, size_bytes, part, expires_at)
        )

    async def finish(self, project: str, id: str, upload_id: str) -> None:
        """It became an upload, which is counted itself; the record tells so until it expires."""
        await self._scripts.run("resumable_end", project, id, upload_id, "")

    async def remove(self, project: str, id: str, *, before: float | None = None) -> bool:
        """Forget it; the caller deletes its pieces. False: it is gone, or, where ``before`` is
        given, does not expire before that time."""
        end = "" if before is None else int(before)
        return bool(await self._scripts.run("resumable_end", project, id, "", end))

    async def list_expired(self, now: float, limit: int = 100) -> Sequence[tuple[str, str]]:
        """(project, id) of those past their expiry, the oldest first."""
        found: Any = await self._redis.zrangebyscore(
            f"{self._prefix}:resumable_expiring", "-inf", now, start=0, num=limit
        )
        pairs = [each.decode().split(" ", 1) for each in found]
        return [(project, id) for project, id in pairs]

    def _record(self, project: str, id: str) -> str:
        return f"{self._prefix}:resumable:{project}:{id}"
