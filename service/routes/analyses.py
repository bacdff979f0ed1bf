"""``/v1/attention/analyses``: analyses of attention, queued like videos; their results as files."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from schemas.analyses import AnalysisKind
from schemas.analysis_cost import AnalysisEstimate
from schemas.base import Frozen
from schemas.errors import NotFound, SourceNotReady
from schemas.jobs import AnalysisFiles, JobSpec, Status
from schemas.requests import CreateAnalysis
from service.background.event_streams import ENDED
from service.jobs.analyses import analysis_spec, list_page, resolved
from service.jobs.deletion import remove_files
from service.jobs.pictures import RequestPictures
from service.jobs.submission import accept
from service.request.auth import Call
from service.request.bodies import BodyOf
from service.request.delivery import deliver
from service.request.dependencies import AnalysisIdDep, CallDep
from service.routes.events import RESPONSES as EVENT_RESPONSES
from service.routes.events import LastEventId, stream_of
from service.routes.videos import GetQuery, PageQuery
from service.settings import Delivery
from service.wire.analyses import Analysis, AnalysisDeleted, AnalysisList, analysis_of
from service.wire.content import Content
from service.wire.errors import COMMON, documented
from service.wire.examples import ANALYSIS_RESULT, ANALYSIS_SOURCES
from service.wire.openapi import accepts
from service.wire.replies import note_wait, reply
from service.wire.upload_examples import ANALYSED_FILM

router = APIRouter(prefix="/v1/attention/analyses", tags=["analyses"], responses=COMMON)
ONE = "/{analysis_id:analysis}"

EXAMPLES = {
    "structure of two prompts": {"kind": "structure", "sources": ANALYSIS_SOURCES},
    "the causal test of sparsity": {
        "kind": "sparsity",
        "sources": [{"id": "video_0199c0ffee42"}],
        "causal": {"densities": [0.5, 0.2], "control": True},
        "priority": "low",
    },
    "sinks, and what taking them out does": {
        "kind": "sinks",
        "sources": ANALYSIS_SOURCES,
        "layers": [2, 3],
        "steps": [5, 10],
        "sampling": {"rows": None},
        "ablations": {"sinks": 2},
    },
    "an uploaded video and an edit of it": {
        "kind": "structure",
        "sources": [
            ANALYSED_FILM,
            {**ANALYSED_FILM, "prompt": "A red car is driving on the highway."},
        ],
    },
    "each layer's transfer": {
        "kind": "layer_sweep",
        "sources": [
            {
                "prompt": "A red car is driving on the highway.",
                "source": {"prompt": "A car is driving on the highway.", "seed": 7},
                "transfer": {"anchor": None, "branches": ["cond"]},
            }
        ],
    },
}
# the page has no script and needs none: whatever a prompt holds, nothing in it may run
REPORT_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'"
}


class AnalysesQuery(PageQuery):
    """A page: up to ``limit`` analyses later in ``order`` than the id ``after``; ``kind`` and
    ``status``: only those."""

    kind: AnalysisKind | None = None
    status: Status | None = None


class FileQuery(Frozen):
    """``delivery``: ``bytes`` to get the content itself instead of a redirect to the store."""

    delivery: Delivery | None = None


FileQueryDep = Annotated[FileQuery, Query()]
FigureName = Annotated[str, Path(pattern="^[a-z0-9_]{1,64}$", examples=["maps"])]


def file_responses(media: str, example: Any = None) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    content: dict[str, Any] = {media: {"schema": schema}}
    if example is not None:
        content = {media: {"schema": {"type": "object"}, "example": example}}
    return {
        200: {"content": content, "description": "The whole file"},
        206: {"content": content, "description": "The range that was asked for"},
        302: {"description": "Where the store can presign: a URL that expires"},
        304: {"description": "The ETag of If-None-Match still holds"},
        **documented(400, 404, 409, 416),
    }


@router.post(
    "",
    response_model=Analysis,
    responses=documented(400, 404, 408, 409, 413, 415, 422, 429),
    openapi_extra=accepts(CreateAnalysis, EXAMPLES, form=False),
)
async def create_analysis(
    call: CallDep, body: Annotated[CreateAnalysis, Depends(BodyOf(CreateAnalysis, pictures=1))]
) -> Response:
    """Queue an analysis of runs, named by the ids of videos or by what makes them."""

    async def make(pictures: RequestPictures) -> list[JobSpec]:
        return [await analysis_spec(call, pictures, body)]

    (job,) = await accept(call, body, make)
    return reply(analysis_of(job))


@router.post(
    "/estimate",
    response_model=AnalysisEstimate,
    responses=documented(400, 404, 408, 409, 413, 415),
    openapi_extra=accepts(CreateAnalysis, EXAMPLES, form=False),
)
async def estimate_analysis(
    call: CallDep, body: Annotated[CreateAnalysis, Depends(BodyOf(CreateAnalysis, pictures=1))]
) -> Response:
    """What the analysis would take if nothing were stored; it is checked, and nothing is queued."""
    return reply((await resolved(call, RequestPictures(call), body)).estimate)


@router.get("", response_model=AnalysisList, responses=documented(400, 404))
async def list_analyses(call: CallDep, query: Annotated[AnalysesQuery, Query()]) -> Response:
    """The project's analyses, newest first unless ``order`` is ``asc``."""
    jobs, has_more = await list_page(call, **query.model_dump())
    data = tuple(map(analysis_of, jobs))
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return reply(AnalysisList(data=data, first_id=first, last_id=last, has_more=has_more))


@router.get(ONE, response_model=Analysis, responses=documented(400, 404))
async def get_analysis(
    analysis_id: AnalysisIdDep, call: CallDep, query: Annotated[GetQuery, Query()]
) -> Response:
    """An analysis and how far it is; with ``wait``, once it has ended or that time is over."""
    job = await call.state.jobs.get(call.project, analysis_id)
    limit_s = call.state.settings.max_wait_s
    seconds = min(query.wait, limit_s)
    if seconds and job.state.status not in ENDED:
        call.state.streams.check()
        job = await call.state.streams.wait_for_end(job, seconds)
    response = reply(analysis_of(job))
    note_wait(response, query.wait, limit_s)
    if job.state.status not in ENDED:
        response.headers["openai-poll-after-ms"] = str(call.state.settings.poll_after_ms)
    return response


@router.get(f"{ONE}/events", response_class=Response, responses=EVENT_RESPONSES)
async def stream_events(
    analysis_id: AnalysisIdDep, call: CallDep, last_event_id: LastEventId = None
) -> Response:
    """Follow an analysis: the steps of all its runs and videos, counted through."""
    return await stream_of(call, analysis_id, last_event_id)


@router.post(f"{ONE}/cancel", response_model=Analysis, responses=documented(404))
async def cancel_analysis(analysis_id: AnalysisIdDep, call: CallDep) -> Response:
    """Stop a queued analysis at once, a running one at its next step; an ended one stays."""
    return reply(analysis_of(await call.state.jobs.request_cancel(call.project, analysis_id)))


@router.delete(ONE, response_model=AnalysisDeleted, responses=documented(404))
async def delete_analysis(analysis_id: AnalysisIdDep, call: CallDep) -> Response:
    """Delete an analysis with all its files; a running one is stopped first."""
    await remove_files(call.state, call.project, analysis_id)
    return reply(AnalysisDeleted(id=analysis_id))


@router.get(
    f"{ONE}/result",
    response_class=Response,
    responses=file_responses("application/json", ANALYSIS_RESULT),
)
async def get_result(analysis_id: AnalysisIdDep, call: CallDep, query: FileQueryDep) -> Response:
    """All numbers: arrays with named axes, their coordinates, units and definitions."""
    files = await _files_of(call, analysis_id)
    content = Content(files.result_key, "application/json", f"{analysis_id}.json")
    return await deliver(call, content, query.delivery)


@router.get(f"{ONE}/report", response_class=Response, responses=file_responses("text/html"))
async def get_report(analysis_id: AnalysisIdDep, call: CallDep, query: FileQueryDep) -> Response:
    """One HTML page with the pictures, tables and definitions in it; it loads nothing else."""
    files = await _files_of(call, analysis_id)
    content = Content(files.report_key, "text/html; charset=utf-8", f"{analysis_id}.html")
    response = await deliver(call, content, query.delivery)
    response.headers.update(REPORT_HEADERS)
    return response


@router.get(
    f"{ONE}/figures/{{name}}.png", response_class=Response, responses=file_responses("image/png")
)
async def get_figure(
    analysis_id: AnalysisIdDep, name: FigureName, call: CallDep, query: FileQueryDep
) -> Response:
    """One picture; the analysis' ``figures`` are their names."""
    figures = (await _files_of(call, analysis_id)).figures
    if name not in figures:
        raise NotFound(
            f"name: {name!r} is no figure of this analysis; there are {', '.join(figures)}",
            param="name",
        )
    content = Content(figures[name], "image/png", f"{analysis_id}-{name}.png")
    return await deliver(call, content, query.delivery)


async def _files_of(call: Call, analysis_id: str) -> AnalysisFiles:
    """Raises NotFound, SourceNotReady."""
    job = await call.state.jobs.get(call.project, analysis_id)
    if job.state.analysis is None:
        raise SourceNotReady(
            f"analysis_id: {analysis_id!r} is {job.state.status}; only a completed analysis has "
            "results",
            param="analysis_id",
            code="analysis_not_ready",
        )
    return job.state.analysis
