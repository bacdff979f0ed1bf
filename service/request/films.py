"""Bodies that carry a film: written to a temporary file while they arrive, within limits.

A form's fields stay in memory, its file never does. The file is deleted with the request.
"""

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from schemas.errors import InvalidRequest, RequestTimeout, TooLarge
from service.settings import ServiceSettings
from service.wire.forms import FilePart, Form

MAX_NAME_CHARS = 200


class FilmFile:
    """A file as it arrives; closing it deletes it. ``filename``: what the sender calls it."""

    def __init__(self, max_bytes: int, filename: str = "") -> None:
        self.filename = filename[:MAX_NAME_CHARS]
        self.given = False
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._file = tempfile.NamedTemporaryFile(prefix="retake-upload-")  # noqa: SIM115 - closed by close

    @property
    def path(self) -> Path:
        return Path(self._file.name)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def begin(self, filename: str) -> None:
        """A form's part with a file begins. Raises InvalidRequest for a second one."""
        if self.given:
            raise InvalidRequest("the form has more than one file; allowed is one")
        self.given = True
        self.filename = filename[:MAX_NAME_CHARS]

    def write(self, data: bytes) -> None:
        """Raises TooLarge."""
        self.given = True
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise TooLarge(f"the video is larger than the {self._max_bytes} bytes allowed")
        self._digest.update(data)
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@contextlib.asynccontextmanager
async def receiving(settings: ServiceSettings) -> AsyncIterator[FilmFile]:
    """A file to receive into; it is gone behind the block."""
    film = await asyncio.to_thread(FilmFile, settings.max_upload_bytes)
    try:
        yield film
    finally:
        await asyncio.to_thread(film.close)


async def receive_raw(request: Request, settings: ServiceSettings, film: FilmFile) -> None:
    """The body itself is the film. Raises TooLarge, RequestTimeout, InvalidRequest."""
    await _stream(request, settings, film.write)
    await asyncio.to_thread(film.flush)


async def receive_form(
    request: Request,
    settings: ServiceSettings,
    field: str,
    film: FilmFile,
    more: Mapping[str, FilePart] | None = None,
) -> dict[str, Any]:
    """The fields of a form whose file, if it has one, is in ``field``; ``more``: other fields that
    may be files. Raises as ``receive_raw`` does, and what ``more`` raise."""
    form = Form(
        request.headers.get("content-type", ""),
        {field: film, **(more or {})},
        settings.max_body_bytes,
    )
    await _stream(request, settings, form.feed)
    await asyncio.to_thread(film.flush)
    return form.end()


async def _stream(
    request: Request, settings: ServiceSettings, take: Callable[[bytes], None]
) -> None:
    declared = request.headers.get("content-length", "")
    limit = settings.max_upload_bytes + settings.max_body_bytes
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the video is larger than the {settings.max_upload_bytes} bytes allowed")
    try:
        async with asyncio.timeout(settings.upload_timeout_s):
            async for chunk in request.stream():
                if chunk:
                    await asyncio.to_thread(take, chunk)  # hashed and written to disk
    except TimeoutError:
        raise RequestTimeout(
            f"the video did not arrive within {settings.upload_timeout_s:g} seconds"
        ) from None
    except ClientDisconnect:
        raise InvalidRequest("the body broke off") from None
