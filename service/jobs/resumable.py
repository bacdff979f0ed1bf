"""Uploads in pieces: each piece is stored as it arrives, and the last one makes the upload.

What has arrived survives a broken connection and the end of this process; any process goes on. The
last piece is noted only once the whole is an upload, so that nothing ends between the two.
"""

import asyncio
import secrets
import time

from starlette.requests import ClientDisconnect

from schemas.errors import InvalidRequest, OffsetMismatch, RequestTimeout, TooLarge
from schemas.films.upload import Upload
from service.jobs.quota import check_room
from service.jobs.uploads import store_upload
from service.request.app_state import AppState
from service.request.auth import Call
from service.request.films import FilmFile, receiving
from storage.objects.objects import ObjectMissing
from storage.resumable_uploads import ResumableUpload, folder_of

PART_BYTES = 8 << 20  # of a piece: so much of a request is lost if this process is killed
MAX_PARTS = 2000


async def begin_upload(call: Call, length: int, filename: str) -> ResumableUpload:
    """Raises TooLarge, RateLimited (the project's storage is full)."""
    settings = call.state.settings
    if length > settings.max_upload_bytes:
        raise TooLarge(
            f"Upload-Length: {length} bytes; allowed are {settings.max_upload_bytes}",
            param="Upload-Length",
        )
    await check_room(call, length)
    id, resumable = secrets.token_hex(16), call.state.resumable
    until = _expiry(call)
    await resumable.begin(call.project, id, length=length, filename=filename, expires_at=until)
    return await resumable.get(call.project, id)


async def receive_pieces(call: Call, held: ResumableUpload) -> None:
    """Take the request's body as what follows.

    Raises OffsetMismatch (somebody else sent more meanwhile), TooLarge (more than was announced),
    RequestTimeout; InvalidRequest where the body broke off, or the whole is no video and no
    picture: then it is forgotten. What arrived before the body broke off is kept.
    """
    timeout_s, offset = call.state.settings.upload_timeout_s, held.offset
    piece = bytearray()
    failure: RequestTimeout | InvalidRequest | None = None
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in call.request.stream():
                piece += chunk
                if offset + len(piece) > held.length:
                    raise TooLarge(f"the body goes beyond the Upload-Length of {held.length}")
                if len(piece) >= PART_BYTES and offset + len(piece) < held.length:
                    offset = await _keep(call, held, offset, piece)
                    piece.clear()
    except TimeoutError:
        failure = RequestTimeout(f"the body did not arrive within {timeout_s:g} seconds")
    except ClientDisconnect:
        failure = InvalidRequest("the body broke off")
    if piece and offset + len(piece) == held.length:
        await _finish(call, held.id, piece)
        return
    if piece:
        await _keep(call, held, offset, piece)
    if failure is not None:
        raise failure


async def _keep(call: Call, held: ResumableUpload, offset: int, piece: bytearray) -> int:
    """Store ``piece`` and note it; the new offset."""
    if len(held.parts) >= MAX_PARTS:
        raise InvalidRequest(f"the upload came in {MAX_PARTS} pieces; send larger ones")
    part, objects = f"{offset:012d}-{secrets.token_hex(4)}", call.state.objects
    key = f"{folder_of(call.project, held.id)}/{part}"
    await asyncio.to_thread(objects.put, key, bytes(piece))
    noted = await call.state.resumable.append(
        call.project, held.id, offset=offset, size_bytes=len(piece), part=part,
        expires_at=_expiry(call),
    )  # fmt: skip
    if not noted:
        await asyncio.to_thread(objects.delete, key)
        raise _moved(offset)
    return offset + len(piece)


async def _finish(call: Call, id: str, last: bytearray) -> Upload:
    """All pieces and ``last`` as an upload."""
    state, project = call.state, call.project
    held = await state.resumable.get(project, id)
    if held.offset + len(last) != held.length:
        raise _moved(held.offset)
    async with receiving(state.settings) as film:
        film.begin(held.filename)
        try:
            await asyncio.to_thread(_assemble, call, held, film, last)
            upload = await store_upload(call, film, "file", reserved=True)
        except (InvalidRequest, TooLarge):
            await forget(state, project, id)
            raise
        except ObjectMissing:  # another sender's request made it the upload, or gave it up
            raise _moved(held.offset) from None
    await state.resumable.finish(project, id, upload.id)
    await asyncio.to_thread(state.objects.delete_prefix, folder_of(project, id))
    return upload


def _assemble(call: Call, held: ResumableUpload, film: FilmFile, last: bytearray) -> None:
    folder = folder_of(call.project, held.id)
    for part in held.parts:
        film.write(call.state.objects.get(f"{folder}/{part}"))
    film.write(bytes(last))
    film.flush()


async def forget(state: AppState, project: str, id: str, *, before: float | None = None) -> bool:
    """Drop an upload that is not complete, or the record of one that is. False: it is gone, or,
    where ``before`` is given, does not expire before that time."""
    removed = await state.resumable.remove(project, id, before=before)
    if removed:
        await asyncio.to_thread(state.objects.delete_prefix, folder_of(project, id))
    return removed


def _moved(offset: int) -> OffsetMismatch:
    return OffsetMismatch(
        f"Upload-Offset: the upload is no longer at {offset}", param="Upload-Offset"
    )


def _expiry(call: Call) -> int:
    return int(time.time()) + call.state.settings.upload_unfinished_s
