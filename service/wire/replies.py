"""Replies: models written as JSON once, without a second validation by FastAPI."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from schemas.errors import NotFound
from schemas.jobs import Job
from schemas.videos import Video, VideoList, video_of
from storage.jobs.job_store import JobStore

Page = TypeVar("Page", bound=BaseModel)


def reply(value: BaseModel) -> Response:
    """``value`` as JSON."""
    return Response(value.model_dump_json(), media_type="application/json")


async def video_reply(store: JobStore, job: Job) -> Response:
    (video,) = await _videos(store, [job])
    return reply(video)


def note_wait(response: Response, asked_s: float, limit_s: float) -> None:
    """Say how long the answer was held back, where that is less than was asked for (RFC 7240)."""
    if asked_s > limit_s:
        response.headers["preference-applied"] = f"wait={limit_s:g}"


async def list_reply(store: JobStore, jobs: Sequence[Job], has_more: bool) -> Response:
    videos = await _videos(store, jobs)
    return reply(
        VideoList(
            data=videos,
            first_id=videos[0].id if videos else None,
            last_id=videos[-1].id if videos else None,
            has_more=has_more,
        )
    )


async def _videos(store: JobStore, jobs: Sequence[Job]) -> tuple[Video, ...]:
    """The queued ones with their places, which one call gives for all."""
    queued = [job.spec.id for job in jobs if job.state.status == "queued"]
    places = dict(zip(queued, await store.queue_positions(queued), strict=True))
    return tuple(video_of(job, places.get(job.spec.id)) for job in jobs)


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
