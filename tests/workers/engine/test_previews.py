"""Previews from the engine to the job's events, on a real Valkey; no Ray."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from schemas.errors import JobCancelled
from schemas.jobs import Event
from storage.jobs.jobs import Jobs
from storage.objects.objects import ObjectStore
from tests import tiny
from tests.workers.control.test_run_job import unheard
from tests.workers.engine.engines import open_engine
from tests.workers.engine.test_engine import STEPS, Stopped, job_of, unheard_step
from tests.workers.waiting import events_of
from workers.control.run_job import JobContext, run_job
from workers.engine.engine import PipelineEngine
from workers.previews import previewer
from workers.settings import WorkerSettings


@pytest.fixture
def engine(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> Iterator[PipelineEngine]:
    """One that writes its journal from the first call on."""
    engine = open_engine(model_folder, settings, objects, journal_after_s=0.0)
    yield engine
    engine.close()


async def run(
    engine: PipelineEngine, jobs: Jobs, objects: ObjectStore, settings: WorkerSettings
) -> list[Event]:
    """The events of a job that asks for a preview every two of six steps."""
    spec = job_of(engine, "a car", preview_every=2).spec
    await jobs.store.submit([spec])
    await run_job(JobContext("worker-a", jobs.claims, objects, engine, settings), spec.id, unheard)
    assert (await jobs.store.get("tests", spec.id)).state.status == "completed"
    return await events_of(jobs, spec.id)


async def test_previews_are_in_the_events_behind_their_steps(
    engine: PipelineEngine, jobs: Jobs, objects: ObjectStore, settings: WorkerSettings
) -> None:
    events = await run(engine, jobs, objects, settings)
    steps = ["progress", "progress", "preview"] * 3
    assert [event.type for event in events] == ["queued", "started", *steps, "completed"]
    previews = [event.data for event in events if event.type == "preview"]
    assert [(data["step"], data["total"]) for data in previews] == [(2, 6), (4, 6), (6, 6)]
    jpegs = [base64.b64decode(str(data["jpeg"]), validate=True) for data in previews]
    assert len(set(jpegs)) == 3
    for jpeg in jpegs:
        picture = Image.open(io.BytesIO(jpeg))
        assert (picture.format, picture.size) == ("JPEG", (tiny.WIDTH, tiny.HEIGHT))


async def test_a_job_ends_well_without_the_previews_that_fail(
    engine: PipelineEngine,
    jobs: Jobs,
    objects: ObjectStore,
    settings: WorkerSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> bytes:
        raise OSError("a fault of a picture")

    monkeypatch.setattr(previewer, "encode_jpeg", failing)
    kinds = [event.type for event in await run(engine, jobs, objects, settings)]
    assert kinds == ["queued", "started", *["progress"] * STEPS, "completed"]


def test_a_resumed_job_shows_the_same(engine: PipelineEngine) -> None:
    job = job_of(engine, "a car", preview_every=2)
    whole: list[tuple[int, int, bytes]] = []
    film = engine.render(job, unheard_step, lambda *preview: whole.append(preview))
    engine.forget(job.spec)
    with pytest.raises(JobCancelled):
        engine.render(job, Stopped(after=4), lambda *preview: None)
    resumed: list[tuple[int, int, bytes]] = []
    again = engine.render(job, unheard_step, lambda *preview: resumed.append(preview))
    assert resumed == whole
    assert [preview[:2] for preview in whole] == [(2, 6), (4, 6), (6, 6)]
    assert (again.frames == film.frames).all()


def test_nobody_asked(engine: PipelineEngine) -> None:
    shown: list[tuple[int, int, bytes]] = []
    engine.render(job_of(engine, "a car"), unheard_step, lambda *preview: shown.append(preview))
    assert shown == []
