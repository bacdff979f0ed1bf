"""``/v1/videos/{id}/events``: a job's progress as server-sent events, resumable.

Wire format: the HTML standard's ``text/event-stream``. Clients send the last event's id in
``Last-Event-ID``; one that has seen the end gets 204, which tells it not to reconnect.
"""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from starlette.responses import StreamingResponse

from schemas.jobs import Event
from service.background.event_streams import ENDED, has_seen_end
from service.request.auth import Call
from service.request.dependencies import CallDep, VideoIdDep
from service.wire.errors import COMMON, documented
from storage.jobs.job_events import check_event_id

router = APIRouter(prefix="/v1", tags=["videos"], responses=COMMON)

STREAM = "text/event-stream"
EXAMPLE = (
    "id: 1763913600000-0\nevent: queued\ndata: {}\n\n"
    "id: 1763913601000-0\nevent: progress\n"
    'data: {"step": 1, "total": 20, "seconds": 0.4, "eta": 7.6, "progress": 5}\n\n'
    "id: 1763913609000-0\nevent: completed\ndata: {}\n\n"
)
EVENT = {"type": "object", "properties": {n: {"type": "string"} for n in ("id", "event", "data")}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events until the job ends: queued, started, progress, preview, and "
        "completed or failed. A preview's data holds a small JPEG in base64.",
        "content": {STREAM: {"schema": EVENT, "example": EXAMPLE}},
    },
    204: {"description": "The job has ended and the client has seen it"},
    **documented(400, 404, 429),
}


LastEventId = Annotated[
    str | None, Header(description="The last event seen; the stream goes on after it")
]


@router.get("/videos/{video_id:video}/events", response_class=Response, responses=RESPONSES)
async def stream_events(
    video_id: VideoIdDep, call: CallDep, last_event_id: LastEventId = None
) -> Response:
    """Follow a job. Comments keep an idle connection open."""
    return await stream_of(call, video_id, last_event_id)


async def stream_of(call: Call, id: str, last_event_id: str | None) -> Response:
    """The events of the caller's job ``id``. Raises NotFound, InvalidRequest, RateLimited."""
    job = await call.state.jobs.get(call.project, id)
    after = check_event_id(last_event_id) if last_event_id else "0"
    ended = job.state.status in ENDED
    if last_event_id and ended and has_seen_end(job, after):
        return Response(status_code=204)
    call.state.streams.check()
    began_ms = None
    if last_event_id:  # times are counted from the start, which this client has seen already
        starts = [e for e in await call.state.events.read_all(id) if e.type == "started"]
        began_ms = starts[-1].at_ms if starts else None
    keep_alive_s = call.state.settings.sse_keep_alive_s
    events = call.state.streams.follow(job, after, keep_alive_s)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(events, began_ms), media_type=STREAM, headers=headers)


async def _lines(events: AsyncIterator[Event | None], began_ms: int | None) -> AsyncIterator[bytes]:
    yield b": open\n\n"
    async for event in events:
        if event is not None and event.type == "started":
            began_ms = event.at_ms
        yield b": still here\n\n" if event is None else line_of(event, began_ms)


def line_of(event: Event, began_ms: int | None) -> bytes:
    """One event on the wire; a step comes with its progress and the estimated time left."""
    data = dict(event.data)
    step, total = data.get("step"), data.get("total")
    if isinstance(step, int) and isinstance(total, int) and total:
        data["progress"] = min(99, 100 * step // total)
        if began_ms is not None and step and "seconds" not in data:
            seconds = max(0, event.at_ms - began_ms) / 1000
            data["seconds"] = round(seconds, 3)
            data["eta"] = round(seconds / step * (total - step), 3)
    return f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(data)}\n\n".encode()
