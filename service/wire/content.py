"""A video's bytes over HTTP: ranges, conditions, and reading the store without blocking.

Ranges and conditions: RFC 9110, sections 13 and 14. A request for several ranges gets the whole
content.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from schemas.errors import RetakeError
from schemas.jobs import JobResult, JobSpec
from storage.objects.objects import ObjectInfo, ObjectStore

CHUNK_BYTES = 1 << 20
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Variant = Literal["video", "thumbnail", "spritesheet"]


class Content(NamedTuple):
    key: str
    media_type: str
    filename: str


class RangeNotSatisfiable(RetakeError):
    """``size_bytes``: of the whole content."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, asked: str | None, size_bytes: int) -> None:
        allowed = f"allowed are bytes 0 to {size_bytes - 1}" if size_bytes else "it is empty"
        super().__init__(f"Range: {asked!r} is not allowed; {allowed}", param="Range")
        self.headers = {"content-range": f"bytes */{size_bytes}"}


def content_of(spec: JobSpec, result: JobResult, variant: Variant) -> Content:
    if variant == "video":
        return Content(result.video_key, "video/mp4", f"{spec.id}.mp4")
    key = result.thumbnail_key if variant == "thumbnail" else result.spritesheet_key
    return Content(key, "image/webp", f"{spec.id}-{variant}.webp")


def bytes_reply(
    request: Request, objects: ObjectStore, content: Content, info: ObjectInfo
) -> Response:
    """The object, the range of it that was asked for, or 304; raises RangeNotSatisfiable."""
    etag = f'"{info.etag}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=3600, immutable",
        "content-disposition": f'inline; filename="{content.filename}"',
    }
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    span = None
    if request.headers.get("if-range", etag) == etag:
        span = _span(request.headers.get("range"), info.size)
    start, stop = span or (0, info.size)
    headers["content-length"] = str(stop - start)
    if span:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{info.size}"
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=content.media_type)
    chunks = _chunks(objects, content.key, start, stop)
    return StreamingResponse(chunks, status, headers, content.media_type)


async def _chunks(
    objects: ObjectStore, key: str, start: int, stop: int
) -> AsyncIterator[memoryview]:
    for offset in range(start, stop, CHUNK_BYTES):
        buffer = memoryview(bytearray(min(CHUNK_BYTES, stop - offset)))
        await asyncio.to_thread(objects.read_into, key, offset, buffer)
        yield buffer


def etag_matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names ``etag``, by the weak comparison (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None where the whole is to be sent."""
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # not a valid range: to be ignored
    if start >= stop:
        raise RangeNotSatisfiable(header, size)
    return start, stop
