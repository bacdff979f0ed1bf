"""An analysis as it is shown to clients."""

from typing import Literal

from schemas.analyses import AnalysisChoices, AnalysisKind
from schemas.base import Frozen
from schemas.jobs import Job, JobError, Status
from schemas.recipes import Recipe
from schemas.videos import progress_of


class ShownSource(Frozen):
    """``video_id``: None where it was described. ``stored``: of a completed analysis, whether it
    was read from stored attention; else it was run."""

    video_id: str | None
    recipe: Recipe
    stored: bool | None


class Analysis(Frozen):
    """``object: "attention.analysis"``. Times are Unix seconds, ``seconds`` the time it ran.

    ``request``: what is looked at, with its defaults. ``figures``: the names of its pictures and
    ``size_bytes`` the size of all its files, once it is completed.
    """

    id: str
    object: Literal["attention.analysis"] = "attention.analysis"
    kind: AnalysisKind
    status: Status
    progress: int
    step: int
    total_steps: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: JobError | None
    request: AnalysisChoices
    sources: tuple[ShownSource, ...]
    figures: tuple[str, ...]
    size_bytes: int | None
    seconds: float | None


class AnalysisList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[Analysis, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AnalysisDeleted(Frozen):
    id: str
    deleted: Literal[True] = True
    object: Literal["attention.analysis.deleted"] = "attention.analysis.deleted"


def analysis_of(job: Job) -> Analysis:
    """The client's view of an analysis' job."""
    spec, state, files = job.spec, job.state, job.state.analysis
    assert spec.analysis is not None
    choices = {name: getattr(spec.analysis, name) for name in AnalysisChoices.model_fields}
    return Analysis(
        id=spec.id,
        kind=spec.analysis.kind,
        status=state.status,
        progress=progress_of(job),
        step=state.step,
        total_steps=state.total_steps,
        created_at=spec.created_at,
        completed_at=state.completed_at,
        expires_at=state.expires_at,
        error=state.error,
        request=AnalysisChoices(**choices),
        sources=_sources(job),
        figures=() if files is None else tuple(files.figures),
        size_bytes=None if files is None else files.size_bytes,
        seconds=None if files is None else files.seconds,
    )


def _sources(job: Job) -> tuple[ShownSource, ...]:
    spec, files = job.spec, job.state.analysis
    assert spec.analysis is not None
    return tuple(
        ShownSource(
            video_id=video_id,
            recipe=recipe,
            stored=None if files is None else place in files.stored_sources,
        )
        for place, (recipe, video_id) in enumerate(
            zip(spec.analysis.sources, spec.source_video_ids, strict=True)
        )
    )
