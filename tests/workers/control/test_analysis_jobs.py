"""Analyses through the ordinary protocol: a real Valkey, a folder, no model."""

import asyncio

import pytest

from schemas.analyses import AnalysisSpec
from schemas.jobs import JobSpec
from storage.jobs.jobs import Jobs
from storage.limits import Limits, ProjectLimits
from storage.objects.objects import ObjectStore
from tests.workers.control.test_run_job import unheard
from tests.workers.scripted import spec_of
from tests.workers.waiting import ended, events_of, stepped
from workers.control.dispatcher import routing_request_of
from workers.control.routing_request import RoutingRequest
from workers.control.run_job import JobContext, run_job
from workers.settings import WorkerSettings


def analysis_of(number: int, prompt: str = "") -> JobSpec:
    """An analysis for the scripted engine, of a run that its prompt says how to end."""
    job = spec_of(number, prompt)
    return job.model_copy(
        update={
            "id": f"analysis_{number:08d}",
            "analysis": AnalysisSpec(kind="structure", sources=(job.recipe,)),
            "source_video_ids": (None,),
        }
    )


async def stored_bytes(jobs: Jobs, settings: WorkerSettings) -> int:
    from storage.connect import open_redis

    redis = open_redis(settings.storage)
    limits = Limits(redis, ProjectLimits(), prefix=settings.storage.redis_prefix)
    try:
        return await limits.stored_bytes("tests")
    finally:
        await redis.aclose()


async def test_it_ends_with_its_files_under_its_fence(
    context: JobContext, jobs: Jobs, objects: ObjectStore, settings: WorkerSettings
) -> None:
    spec = analysis_of(1)
    await jobs.store.submit([spec])
    await run_job(context, spec.id, unheard)
    state = (await jobs.store.get("tests", spec.id)).state
    assert state.analysis is not None
    folder = f"analyses/tests/{spec.id}/{state.fence}"
    assert state.analysis.result_key == f"{folder}/result.json"
    assert state.analysis.report_key == f"{folder}/report.html"
    assert state.analysis.figures == {"maps": f"{folder}/figures/maps.png"}
    assert state.analysis.stored_sources == (0,)
    keys = {info.key: info.size for info in objects.list("analyses")}
    assert set(keys) == {
        f"{folder}/result.json",
        f"{folder}/report.html",
        f"{folder}/figures/maps.png",
    }
    assert objects.get(f"{folder}/report.html") == b"page of structure"
    assert list(objects.list("videos")) == []
    assert state.analysis.size_bytes == sum(keys.values()) == await stored_bytes(jobs, settings)
    types = [event.type for event in await events_of(jobs, spec.id)]
    assert types == ["queued", "started", *["progress"] * 4, "completed"]
    await jobs.store.delete("tests", spec.id)
    assert await stored_bytes(jobs, settings) == 0


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
async def test_it_stops_at_its_next_step(
    context: JobContext, jobs: Jobs, objects: ObjectStore, end: str
) -> None:
    spec = analysis_of(1, "hold")
    await jobs.store.submit([spec])
    running = asyncio.create_task(run_job(context, spec.id, unheard))
    await stepped(jobs, spec.id)
    if end == "cancelled":
        await jobs.store.request_cancel("tests", spec.id)
        error = (await ended(jobs, spec.id)).state.error
        assert error is not None
        assert error.code == "cancelled"
    else:
        await jobs.store.delete("tests", spec.id)
    await running
    assert list(objects.list("analyses")) == []


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [("refused", "failed", "unsupported"), ("bug", "queued", None)],
)
async def test_it_fails_or_is_tried_again_as_videos_are(
    context: JobContext, jobs: Jobs, prompt: str, status: str, code: str | None
) -> None:
    spec = analysis_of(1, prompt)
    await jobs.store.submit([spec])
    await run_job(context, spec.id, unheard)
    state = (await jobs.store.get("tests", spec.id)).state
    assert state.status == status
    assert (state.error and state.error.code) == code


def test_it_goes_where_its_model_is() -> None:
    spec = analysis_of(1)
    assert routing_request_of(spec) == RoutingRequest(spec.id, "scripted", None)
