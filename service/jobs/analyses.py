"""From a request for an analysis to a job: its sources made recipes, its cost against the limit."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from schemas.analyses import AnalysedRun, AnalysisKind, AnalysisSpec, resolve_analysis
from schemas.analysis_cost import AnalysisEstimate, estimate_analysis
from schemas.capture_plan import Needed
from schemas.errors import InvalidRequest, NotFound, SourceMismatch, Unsupported
from schemas.jobs import Job, JobSpec, Status
from schemas.maps import STORED_FORMS
from schemas.recipes import Recipe
from schemas.requests import AnalysedSource, CreateAnalysis, Settings
from service.jobs.captures import is_kept
from service.jobs.edits import completed_source, source_recipe
from service.jobs.film_sources import film_source
from service.jobs.pictures import RequestPictures
from service.jobs.resolve import edit_generation, edit_recipe, new_generation
from service.request.auth import Call

SCAN = 100  # jobs that are read at once to find those that a filter lets through


class Asked(NamedTuple):
    """``video_ids``: of each source that a video was named for."""

    spec: AnalysisSpec
    video_ids: tuple[str | None, ...]
    estimate: AnalysisEstimate


async def resolved(call: Call, pictures: RequestPictures, body: CreateAnalysis) -> Asked:
    """``body`` with every choice made. Raises InvalidRequest and its kin, NotFound, Unavailable:
    whatever the analysis would be refused for, by the field's name."""
    found = []
    for place, source in enumerate(body.sources):
        with named_below(f"sources.{place}"):
            found.append(await _recipe_of(call, pictures, source))
    spec = body.spec_of(tuple(recipe for recipe, _ in found))
    cards = await call.state.catalogue.cards()
    estimate = estimate_analysis(spec, cards)
    if spec.kind != "layer_sweep":  # which makes every video that it measures
        await _check_regions(call, resolve_analysis(spec, cards))
    return Asked(spec, tuple(video_id for _, video_id in found), estimate)


async def analysis_spec(call: Call, pictures: RequestPictures, body: CreateAnalysis) -> JobSpec:
    """The job of an analysis. Raises as ``resolved``, and InvalidRequest past the project's
    limit of its cost."""
    asked = await resolved(call, pictures, body)
    await _check_cost(call, asked)
    first = asked.spec.sources[0]
    return JobSpec(
        id=f"analysis_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}",
        project=call.project,
        recipe=first,
        source_key=first.key(call.project),
        priority=body.priority,
        created_at=int(time.time()),
        retention_s=call.state.settings.retention_s or None,
        webhook_url=body.webhook_url,
        analysis=asked.spec,
        source_video_ids=asked.video_ids,
    )


@contextmanager
def named_below(place: str) -> Iterator[None]:
    """Errors about a part of the body name their field from the whole body's view."""
    try:
        yield
    except (InvalidRequest, NotFound) as error:
        message, param = f"{place}: {error.message}", place
        if error.param and error.message.startswith(f"{error.param}: "):
            message, param = f"{place}.{error.message}", f"{place}.{error.param}"
        raise type(error)(message, param=param, code=error.code) from None


async def _recipe_of(
    call: Call, pictures: RequestPictures, source: AnalysedSource
) -> tuple[Recipe, str | None]:
    """The run, and the video that it was named by."""
    if source.id is not None:
        return await _video_recipe(call, pictures, source.id, "id"), source.id
    if source.prompt is None:  # of an uploaded film alone
        return (await film_source(call, source))[0], None
    asked = Settings(**{name: getattr(source, name) for name in Settings.model_fields})
    if source.video is None and source.source is None:
        card = await call.state.catalogue.pick(source.model, call.state.settings.default_model)
        generation = new_generation(asked, source.prompt, card)
        return Recipe(generation=await pictures.put_into(generation, source, card)), None
    of = await _edited(call, pictures, source)
    card = await call.state.catalogue.pick(source.model or of.generation.model, None)
    edit = edit_generation(asked, source.prompt, of.generation, card)
    edit = await pictures.put_into(edit, source, card)
    limit = call.state.settings.max_edit_chain
    return edit_recipe(edit, of, source.transfer, card, limit), None


async def _edited(call: Call, pictures: RequestPictures, edit: AnalysedSource) -> Recipe:
    """What an edit is of."""
    if edit.video is not None and edit.video.is_upload:
        return (await film_source(call, edit))[0]
    if edit.video is not None:
        return await _video_recipe(call, pictures, edit.video.id, "video.id")
    assert edit.source is not None
    return await source_recipe(call, pictures, edit.source, edit.model)


async def _video_recipe(call: Call, pictures: RequestPictures, id: str, param: str) -> Recipe:
    job = await completed_source(call, id, param)
    await _check_served(call, job.spec.recipe, param)
    pictures.keep(job.spec)
    return job.spec.recipe


async def _check_served(call: Call, recipe: Recipe, param: str) -> None:
    """Raise SourceMismatch for a video of another revision of its model than is served."""
    card = await call.state.catalogue.pick(recipe.generation.model, None)
    if card.fingerprint != recipe.generation.fingerprint:
        raise SourceMismatch(
            f"{param}: it was made by another revision of model {card.id!r} than is served; it "
            "cannot be run again",
            param=param,
        )


async def _check_regions(call: Call, runs: Sequence[AnalysedRun]) -> None:
    """Raise Unsupported for an edit with a region, unless its attention is stored: run again, it
    would compute that of some tokens alone."""
    for place, run in enumerate(runs):
        transfer = run.recipe.transfer
        if transfer is None or transfer.anchor is None or transfer.anchor.region is None:
            continue
        needed = Needed(frozenset(run.layers), frozenset(run.steps), frozenset(run.branches))
        if not await is_kept(call, run.recipe, needed, STORED_FORMS):
            raise Unsupported(
                f"sources.{place}.transfer.anchor.region: an edit with a region computes the "
                "attention of some tokens alone, and none that tells these layers, steps and "
                "branches is stored; allowed are the edit's source, the edit without a region, or "
                "one that was made with capture form 'hidden' of them",
                param=f"sources.{place}",
            )


async def _check_cost(call: Call, asked: Asked) -> None:
    """Raise InvalidRequest, naming what takes the most, past the project's limit."""
    if not call.state.settings.needs_keys:
        return
    limit = (await call.state.limits.of(call.project)).max_analysis_cost
    if limit and asked.estimate.cost > limit:
        param = _dearest(asked.spec)
        raise InvalidRequest(
            f"{param}: this analysis takes as long as {asked.estimate.cost:.4g} generations; "
            f"allowed for this project are {limit}: ask for fewer sources, layers or settings",
            param=param,
        )


def _dearest(spec: AnalysisSpec) -> str:
    if spec.causal is not None:
        return "causal"
    if spec.ablations is not None:
        return "ablations"
    return "layers" if spec.kind == "layer_sweep" and len(spec.sources) == 1 else "sources"


async def list_page(
    call: Call,
    *,
    after: str | None,
    limit: int,
    order: Literal["asc", "desc"],
    kind: AnalysisKind | None,
    status: Status | None,
) -> tuple[Sequence[Job], bool]:
    """A page of the project's analyses, and whether more follow; ``kind``, ``status``: only those.

    Raises NotFound for an unknown ``after``.
    """
    found: list[Job] = []
    more = True
    while more and len(found) <= limit:
        jobs, more = await call.state.jobs.list(
            call.project, after=after, limit=SCAN, order=order, kind="analysis"
        )
        found += [job for job in jobs if _is_wanted(job, kind, status)]
        after = jobs[-1].spec.id if jobs else after
    return found[:limit], len(found) > limit


def _is_wanted(job: Job, kind: AnalysisKind | None, status: Status | None) -> bool:
    assert job.spec.analysis is not None
    return kind in (None, job.spec.analysis.kind) and status in (None, job.state.status)
