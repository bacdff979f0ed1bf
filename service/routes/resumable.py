"""``/v1/uploads/resumable``: large files in pieces, by the tus protocol, version 1.0.0.

Core protocol, and the extensions creation, expiration and termination: https://tus.io/protocols.
"""

import base64
import binascii
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from schemas.errors import InvalidRequest, OffsetMismatch, UnsupportedMediaType, VersionUnsupported
from service.jobs.resumable import begin_upload, forget, receive_pieces
from service.request.app_state import app_state
from service.request.auth import Allowed, Call
from service.request.films import MAX_NAME_CHARS
from service.wire.errors import COMMON, documented
from storage.resumable_uploads import ResumableUpload

router = APIRouter(prefix="/v1/uploads/resumable", tags=["uploads"], responses=COMMON)

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,termination"
BODY = "application/offset+octet-stream"
HELD_ID = "0199c0ffee0199c0ffee0199c0ffee42"
BEGUN: dict[int | str, dict[str, Any]] = {
    201: {"description": "Begun; ``Location`` names it, ``Upload-Expires`` says until when"}
}
PIECES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            BODY: {
                "schema": {"type": "string", "format": "binary"},
                "examples": {"the rest": {"value": "(the bytes from Upload-Offset on)"}},
            }
        },
    }
}

HeldId = Annotated[str, Path(examples=[HELD_ID])]
Length = Annotated[
    int, Header(alias="Upload-Length", ge=1, le=2**53, description="Of the whole file, in bytes.")
]
Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, le=2**53, description="Where the body goes on.")
]
Metadata = Annotated[
    str | None,
    Header(alias="Upload-Metadata", max_length=4096, description="As in `filename bWluZS5tcDQ=`."),
]


class Tus(Allowed):
    """The call of a client that speaks this version; every answer to it says so too."""

    async def __call__(
        self,
        request: Request,
        version: Annotated[str | None, Header(alias="Tus-Resumable", examples=[VERSION])] = None,
    ) -> Call:
        call = await super().__call__(request)
        counted = getattr(request.state, "headers", {})
        request.state.headers = {**counted, "tus-resumable": VERSION, "cache-control": "no-store"}
        if version != VERSION:
            error = VersionUnsupported(
                f"Tus-Resumable: {(version or '')[:20]!r} is not allowed; allowed is {VERSION}",
                param="Tus-Resumable",
            )
            error.headers["tus-version"] = VERSION
            raise error
        return call


TusDep = Annotated[Call, Depends(Tus())]


@router.options("", status_code=204, response_class=Response)
@router.options("/{id}", status_code=204, response_class=Response, include_in_schema=False)
async def tus_offers(request: Request) -> Response:
    """What of the protocol is offered."""
    headers = {
        "tus-resumable": VERSION,
        "tus-version": VERSION,
        "tus-extension": EXTENSIONS,
        "tus-max-size": str(app_state(request).settings.max_upload_bytes),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "", status_code=201, response_class=Response, responses={**BEGUN, **documented(400, 412, 413)}
)
async def begin_resumable(call: TusDep, length: Length, metadata: Metadata = None) -> Response:
    """Begin a file of so many bytes; its pieces follow by PATCH to the ``Location``."""
    held = await begin_upload(call, length, _filename(metadata))
    root = call.request.scope.get("root_path", "")
    return Response(
        status_code=201,
        headers={"location": f"{root}{router.prefix}/{held.id}", **_told(held)},
    )


@router.head("/{id}", status_code=200, response_class=Response, responses=documented(400, 404, 412))
async def resumable_state(id: HeldId, call: TusDep) -> Response:
    """How much of it is stored: ``Upload-Offset``. Once all is, ``Retake-Upload-Id`` names it."""
    held = await call.state.resumable.get(call.project, id)
    return Response(headers={**_told(held), "upload-length": str(held.length)})


@router.patch(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses=documented(400, 404, 408, 409, 412, 413, 415),
    openapi_extra=PIECES,
)
async def go_on(id: HeldId, call: TusDep, offset: Offset) -> Response:
    """Store what follows from ``Upload-Offset`` on, as far as it arrives. The last piece makes the
    upload, whose id is then in ``Retake-Upload-Id``."""
    kind = call.request.headers.get("content-type", "")
    if kind != BODY:
        raise UnsupportedMediaType(f"content-type: {kind[:80]!r} is not allowed; allowed is {BODY}")
    held = await call.state.resumable.get(call.project, id)
    if offset != held.offset:
        raise OffsetMismatch(
            f"Upload-Offset: {offset} is not where it ends; it ends at {held.offset}",
            param="Upload-Offset",
        )
    await receive_pieces(call, held)
    now = await call.state.resumable.get(call.project, id)
    return Response(status_code=204, headers=_told(now))


@router.delete(
    "/{id}", status_code=204, response_class=Response, responses=documented(400, 404, 412)
)
async def give_up(id: HeldId, call: TusDep) -> Response:
    """Drop what has arrived. An upload that is complete stays."""
    held = await call.state.resumable.get(call.project, id)
    await forget(call.state, call.project, held.id)
    return Response(status_code=204)


@router.post("/{id}", status_code=204, response_class=Response, include_in_schema=False)
async def by_post(
    id: HeldId,
    call: TusDep,
    method: Annotated[str, Header(alias="X-HTTP-Method-Override")],
    offset: Annotated[int | None, Header(alias="Upload-Offset", ge=0, le=2**53)] = None,
) -> Response:
    """For clients that can send no PATCH or DELETE, as the protocol asks for."""
    if method == "PATCH" and offset is not None:
        return await go_on(id, call, offset)
    if method == "DELETE":
        return await give_up(id, call)
    raise InvalidRequest(
        f"X-HTTP-Method-Override: {method[:20]!r} is not allowed; allowed are DELETE, and PATCH "
        "with Upload-Offset",
        param="X-HTTP-Method-Override",
    )


def _told(held: ResumableUpload) -> dict[str, str]:
    headers = {
        "upload-offset": str(held.offset),
        "upload-expires": formatdate(held.expires_at, usegmt=True),
    }
    return headers if held.upload_id is None else {**headers, "retake-upload-id": held.upload_id}


def _filename(metadata: str | None) -> str:
    """From pairs of a name and base64: ``filename bWluZS5tcDQ=,filetype dmlkZW8vbXA0``."""
    for pair in (metadata or "").split(","):
        name, _, value = pair.strip().partition(" ")
        if name == "filename":
            try:
                return base64.b64decode(value, validate=True).decode()[:MAX_NAME_CHARS]
            except (binascii.Error, UnicodeDecodeError):
                raise InvalidRequest(
                    "Upload-Metadata: filename is not UTF-8 in base64", param="Upload-Metadata"
                ) from None
    return ""
