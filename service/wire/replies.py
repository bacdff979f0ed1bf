"""Replies: models written as JSON once, without a second validation by FastAPI."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from schemas.errors import NotFound
from schemas.jobs import Job
from schemas.videos import VideoList, video_of

Page = TypeVar("Page", bound=BaseModel)


def reply(value: BaseModel) -> Response:
    """``value`` as JSON."""
    return Response(value.model_dump_json(), media_type="application/json")


def video_reply(job: Job) -> Response:
    return reply(video_of(job))


def list_reply(jobs: Sequence[Job], has_more: bool) -> Response:
    videos = tuple(map(video_of, jobs))
    return reply(
        VideoList(
            data=videos,
            first_id=videos[0].id if videos else None,
            last_id=videos[-1].id if videos else None,
            has_more=has_more,
        )
    )


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


def page_of(kind: type[Page], entries: Sequence[_Listed], after: str | None, limit: int) -> Page:
    """The page of all ``entries`` that follows the id ``after``; raises NotFound."""
    start = 0
    if after is not None:
        ids = [entry.id for entry in entries]
        if after not in ids:
            raise NotFound(f"after: no entry {after[:120]!r}", param="after")
        start = ids.index(after) + 1
    data = entries[start : start + limit]
    return kind.model_validate(
        {
            "data": tuple(data),
            "first_id": data[0].id if data else None,
            "last_id": data[-1].id if data else None,
            "has_more": len(entries) > start + limit,
        }
    )
