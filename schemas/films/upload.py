"""Uploads: files of a project that its videos may be made of, films and pictures."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Frozen
from schemas.films.film import FilmInfo, Sha256

UploadId = Annotated[str, Field(pattern=r"^upload_[0-9a-f]{40}$")]
ID_HEX = 40


class PictureInfo(Frozen):
    """What a picture's file holds. ``width``, ``height``: its pixels, as a viewer shows it."""

    format: Literal["png", "jpeg", "webp"]
    width: int
    height: int


class Upload(Frozen):
    """``POST /v1/uploads`` and after. Times are Unix seconds; ``bytes``: its size.

    It is a film or a picture; what it is not is null.

    The id follows from the content: the same file is one upload of a project, however often sent.
    """

    id: UploadId
    object: Literal["upload"] = "upload"
    filename: str
    bytes: int
    sha256: Sha256
    film: FilmInfo | None = None
    picture: PictureInfo | None = None
    created_at: int
    expires_at: int | None


class UploadList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[Upload, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class UploadDeleted(Frozen):
    id: str
    deleted: Literal[True] = True
    object: Literal["upload.deleted"] = "upload.deleted"


def upload_id(sha256: str) -> str:
    """The id of the upload with this content."""
    return f"upload_{sha256[:ID_HEX]}"


def upload_key(project: str, sha256: str) -> str:
    """Where its bytes lie in the object store."""
    return f"uploads/{project}/{upload_id(sha256)}"
