"""From a received file to an upload: looked into, stored and listed; and its bytes again."""

import asyncio
import logging
import time
from pathlib import Path

from schemas.errors import FilmUnreadable, InvalidRequest, NotFound, TooLarge
from schemas.films.film import FilmInfo
from schemas.films.upload import PictureInfo, Upload, upload_id, upload_key
from service.jobs.quota import check_room
from service.request.auth import Call
from service.request.films import FilmFile
from service.wire.pictures import looks_like_picture, probe_picture
from storage.films.reader import probe
from storage.objects.objects import ObjectMissing

log = logging.getLogger("retake.service")
_CHUNK_BYTES = 4 << 20
_HEAD_BYTES = 16  # enough to tell a picture by


async def store_upload(
    call: Call, film: FilmFile, param: str, *, pictures: bool = True, reserved: bool = False
) -> Upload:
    """Look into a received file, store it and list it. ``pictures`` False: only if it is a film.
    ``reserved``: its bytes count as the project's already.

    Raises InvalidRequest (it is no video and no picture that can be read; the message says why),
    TooLarge (a picture), RateLimited (the project's storage is full).
    """
    if not film.size_bytes:
        raise InvalidRequest(f"{param}: the file is empty", param=param)
    found = await _look_into(call, film, param, pictures)
    held = await call.state.uploads.find(call.project, upload_id(film.sha256))
    if held is None:
        if not reserved:
            await check_room(call, film.size_bytes)
        await asyncio.to_thread(_put, call, film)
    upload = Upload(
        id=upload_id(film.sha256),
        filename=held.filename if held else film.filename,
        bytes=film.size_bytes,
        sha256=film.sha256,
        film=found if isinstance(found, FilmInfo) else None,
        picture=found if isinstance(found, PictureInfo) else None,
        created_at=held.created_at if held else int(time.time()),
        expires_at=_expiry(call),
    )
    log.info("uploaded %s", upload.id, extra={"project": call.project})
    return await call.state.uploads.add(call.project, upload)


async def _look_into(
    call: Call, film: FilmFile, param: str, pictures: bool
) -> FilmInfo | PictureInfo:
    settings = call.state.settings
    if pictures and looks_like_picture(await asyncio.to_thread(_head, film.path)):
        if film.size_bytes > settings.max_picture_bytes:
            raise TooLarge(
                f"{param}: the picture is larger than the {settings.max_picture_bytes} bytes "
                "allowed",
                param=param,
            )
        data = await asyncio.to_thread(film.path.read_bytes)
        limit = settings.max_picture_pixels
        async with call.state.decoding:
            return await asyncio.to_thread(probe_picture, data, max_pixels=limit, param=param)
    try:
        async with call.state.probes:
            return await asyncio.to_thread(probe, film.path, settings.films)
    except FilmUnreadable as error:
        raise InvalidRequest(
            f"{param}: {error.message}", param=param, code="video_unreadable"
        ) from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _put(call: Call, film: FilmFile) -> None:
    with (
        film.path.open("rb") as file,
        call.state.objects.put_parts(upload_key(call.project, film.sha256)) as writer,
    ):
        while piece := file.read(_CHUNK_BYTES):
            writer.write(piece)
        writer.commit()


async def read_picture(call: Call, id: str, param: str) -> bytes:
    """The file of an uploaded picture, which is kept from now on for as long as a new one. Raises
    NotFound, InvalidRequest (it is a film)."""
    upload = await call.state.uploads.get(call.project, id, param)
    if upload.picture is None:
        raise InvalidRequest(f"{param}: {id!r} is a video; allowed are pictures", param=param)
    try:
        key = upload_key(call.project, upload.sha256)
        data = await asyncio.to_thread(call.state.objects.get, key)
    except ObjectMissing:
        raise NotFound(f"{param}: the file of {id!r} is no longer stored", param=param) from None
    await keep_longer(call, upload)
    return data


async def keep_longer(call: Call, upload: Upload, source_key: str = "") -> None:
    """An upload that is used is kept from then on. ``source_key``: of what was made of it."""
    kept = upload.model_copy(update={"expires_at": _expiry(call)})
    await call.state.uploads.add(call.project, kept, source_key=source_key)


def _expiry(call: Call) -> int | None:
    retention_s = call.state.settings.upload_retention_s
    return int(time.time()) + retention_s if retention_s else None
