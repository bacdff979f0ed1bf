"""``/v1/uploads``: the project's own films and pictures, which videos may be made of."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from schemas.base import Frozen
from schemas.errors import InvalidRequest, UnsupportedMediaType
from schemas.films.upload import Upload, UploadDeleted, UploadList
from service.jobs.deletion import remove_upload
from service.jobs.uploads import store_upload
from service.request.dependencies import CallDep
from service.request.films import receive_form, receive_raw, receiving
from service.wire.errors import COMMON, documented
from service.wire.replies import page_of, reply
from service.wire.upload_examples import UPLOAD_ID

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], responses=COMMON)

UploadIdPath = Annotated[str, Path(examples=[UPLOAD_ID])]
FIELD = "file"
RAW = (
    "video/mp4", "video/webm", "video/quicktime", "image/gif", "image/png", "image/jpeg",
    "image/webp", "application/octet-stream",
)  # fmt: skip
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                },
                "examples": {"a file": {"value": {FIELD: "(the bytes of mine.mp4)"}}},
            },
            **{
                kind: {
                    "schema": {"type": "string", "format": "binary"},
                    "examples": {"a file": {"value": "(the bytes of mine.mp4)"}},
                }
                for kind in RAW
            },
        },
    }
}


class UploadsQuery(Frozen):
    """A page: up to ``limit`` uploads later in ``order`` than the id ``after``."""

    after: Annotated[str | None, Field(max_length=128)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


@router.post(
    "",
    response_model=Upload,
    responses=documented(400, 408, 413, 415),
    openapi_extra=BODY,
)
async def create_upload(request: Request, call: CallDep) -> Response:
    """Store a film or a picture of up to the server's limit; the same file again is the same
    upload."""
    settings = call.state.settings
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with receiving(settings) as film:
        if kind == "multipart/form-data":
            fields = await receive_form(request, settings, FIELD, film)
            _check_fields(fields, film.given)
        elif kind in RAW:
            await receive_raw(request, settings, film)
        else:
            raise UnsupportedMediaType(
                f"content-type: {kind[:80]!r} is not allowed; allowed are multipart/form-data and "
                f"{', '.join(RAW)}"
            )
        return reply(await store_upload(call, film, FIELD))


def _check_fields(fields: dict[str, Any], given: bool) -> None:
    """``purpose``, which OpenAI's file routes ask for, is taken and has no meaning here."""
    unknown = [name for name in fields if name != "purpose"]
    if unknown:
        raise InvalidRequest(
            f"{unknown[0][:80]}: is not a known field; allowed are {FIELD}, purpose",
            param=unknown[0][:80],
        )
    if not given:
        raise InvalidRequest(f"{FIELD}: is required, as a file of the form", param=FIELD)


@router.get("", response_model=UploadList, responses=documented(400, 404))
async def list_uploads(call: CallDep, query: Annotated[UploadsQuery, Query()]) -> Response:
    """The project's uploads, newest first unless ``order`` is ``asc``."""
    found = list(await call.state.uploads.list(call.project))
    entries = found if query.order == "desc" else found[::-1]
    return reply(page_of(UploadList, entries, query.after, query.limit))


@router.get("/{upload_id}", response_model=Upload, responses=documented(404))
async def get_upload(upload_id: UploadIdPath, call: CallDep) -> Response:
    """What was uploaded, and until when it is kept."""
    return reply(await call.state.uploads.get(call.project, upload_id))


@router.delete("/{upload_id}", response_model=UploadDeleted, responses=documented(404))
async def delete_upload(upload_id: UploadIdPath, call: CallDep) -> Response:
    """Delete a file and the stored attention of its sources; edits that wait for it fail."""
    await remove_upload(call.state, call.project, upload_id)
    return reply(UploadDeleted(id=upload_id))
