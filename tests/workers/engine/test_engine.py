"""The engine that serves, on a tiny random Wan: stored, replayed, resumed, all the same bytes."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.attention import Anchor, CaptureSpec, TransferSpec
from schemas.errors import JobCancelled
from schemas.jobs import Job, JobSpec, JobState
from schemas.recipes import Recipe
from storage.objects.objects import ObjectStore, ObjectStoreError
from tests import tiny
from tests.workers.engine.engines import open_engine
from workers.control.engine_protocol import RenderedVideo
from workers.control.mp4 import decode_frames, encode_mp4
from workers.engine.engine import PipelineEngine
from workers.engine.video_job import RESUMED
from workers.settings import WorkerSettings

STEPS = 6
SIZE = (tiny.WIDTH, tiny.HEIGHT)


def unheard_step(step: int, total: int) -> None:
    pass


@pytest.fixture
def journaling(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> Iterator[PipelineEngine]:
    """One that writes its journal from the first call on."""
    engine = open_engine(model_folder, settings, objects, journal_after_s=0.0)
    yield engine
    engine.close()


def job_of(
    engine: PipelineEngine, prompt: str, source: Recipe | None = None, **more: object
) -> Job:
    generation = tiny.recipe(engine.model("tiny"), prompt, num_inference_steps=STEPS).generation
    transfer = None if source is None else TransferSpec()
    recipe = Recipe(generation=generation, source=source, transfer=transfer)
    spec = JobSpec(
        id=f"video_{prompt.replace(' ', ''):0>8}",
        project="tests",
        recipe=recipe,
        source_key=recipe.key("tests"),
        edit_source_key=source.key("tests") if source else None,
        created_at=0,
        **more,
    )
    return Job(spec=spec, state=JobState())


def keep(film: RenderedVideo) -> str:
    assert film.captured is not None
    key = film.captured.publish()
    assert key is not None
    return key


def test_an_edit_is_the_same_from_stored_attention_and_replayed(engine: PipelineEngine) -> None:
    source = job_of(engine, "a car", capture=CaptureSpec(scope="everything"))
    edit = job_of(engine, "a red car", source.spec.recipe)
    replayed = engine.render(edit, unheard_step)
    keep(engine.render(source, unheard_step))
    stored = engine.render(edit, unheard_step)
    assert (replayed.attention, stored.attention) == ("replayed", "stored")
    # a batch of two rounds otherwise than one of one
    assert np.abs(replayed.frames.astype(int) - stored.frames).max() <= 1
    assert engine.held_sources() == [source.spec.source_key]


def test_what_an_edit_is_measured_by_is_read_while_it_is_denoised(
    engine: PipelineEngine, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = job_of(engine, "a car")
    shown = engine.render(source, unheard_step).frames
    objects.put("source.mp4", encode_mp4(shown, 8, 18))
    read, get = threading.Event(), objects.get

    def told(key: str) -> bytes:
        if key == "source.mp4":
            read.set()
        return get(key)

    monkeypatch.setattr(objects, "get", told)
    edit = job_of(engine, "a red car", source.spec.recipe, source_video_key="source.mp4")
    in_time = []
    made = engine.render(edit, lambda step, total: in_time.append(read.wait(60)))
    assert in_time
    assert all(in_time)
    assert made.metrics is not None
    change = np.abs(made.frames.astype(int) - decode_frames(get("source.mp4"), *SIZE)).mean() / 255
    assert made.metrics.change_inside == pytest.approx(change, abs=1e-4)


def test_damaged_attention_is_replayed(engine: PipelineEngine, objects: ObjectStore) -> None:
    source = job_of(engine, "a car", capture=CaptureSpec(scope="everything"))
    keep(engine.render(source, unheard_step))
    for info in list(objects.list("artifacts")):
        data = bytearray(objects.get(info.key))
        data[len(data) // 2] ^= 1
        objects.put(info.key, data)
    edit = job_of(engine, "a red car", source.spec.recipe)
    assert engine.render(edit, unheard_step).attention == "replayed"


class OutOfMemory:
    """An ``on_step`` that finds the device full, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, step: int, total: int) -> None:
        if step == 2 and self.times:
            self.times -= 1
            raise torch.OutOfMemoryError("no room")


@pytest.mark.slow
def test_out_of_memory_empties_the_device_cache_and_the_job_runs_again(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> None:
    engine = open_engine(model_folder, settings, objects, device_cache_bytes=64 << 20)
    source = job_of(engine, "a car", capture=CaptureSpec(scope="everything"))
    keep(engine.render(source, unheard_step))
    edit = job_of(engine, "a red car", source.spec.recipe)
    whole = engine.render(edit, unheard_step)
    again = engine.render(edit, OutOfMemory(times=1))
    assert again.attention == "stored"
    assert (again.frames == whole.frames).all()
    engine.free_memory()
    with pytest.raises(torch.OutOfMemoryError):  # twice: it was not the cache that took the room
        engine.render(edit, OutOfMemory(times=2))
    engine.close()


def test_out_of_memory_without_a_device_cache_ends_the_job(engine: PipelineEngine) -> None:
    full = OutOfMemory(times=2)
    with pytest.raises(torch.OutOfMemoryError):
        engine.render(job_of(engine, "a car"), full)
    assert full.times == 1, "it was not tried again"


@pytest.mark.slow
def test_a_model_that_is_loaded_gets_the_device_cache_s_memory(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> None:
    engine = open_engine(
        model_folder, settings, objects, ids=("other", "tiny"), device_cache_bytes=64 << 20
    )
    source = job_of(engine, "a car", capture=CaptureSpec(scope="everything"))
    keep(engine.render(source, unheard_step))
    engine.render(job_of(engine, "a red car", source.spec.recipe), unheard_step)
    assert engine.loaded_models() == ["tiny"]
    engine.model("tiny")
    assert engine._stores.artifacts._tensors.held_bytes > 0
    engine.model("other")
    assert engine._stores.artifacts._tensors.held_bytes == 0
    engine.close()


def test_a_video_is_made_though_its_attention_cannot_be_kept(
    engine: PipelineEngine, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise ObjectStoreError("disk")

    plain = engine.render(job_of(engine, "a car"), unheard_step)
    monkeypatch.setattr(type(objects), "put", full)
    monkeypatch.setattr(type(objects), "put_parts", full)
    film = engine.render(
        job_of(engine, "a car", capture=CaptureSpec(scope="everything")), unheard_step
    )
    assert (film.frames == plain.frames).all()
    assert film.captured is not None
    assert film.captured.publish() is None
    assert film.captured.failure


class Stopped(threading.Event):
    """An ``on_step`` that ends the job after a step, as a lost worker would."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, step: int, total: int) -> None:
        if step == self.after:
            raise JobCancelled("stopped")


def computed(engine: PipelineEngine, job: Job) -> tuple[RenderedVideo, int]:
    """The film, and how many transformer calls were computed for it."""
    transformer = engine.model("tiny").hooks.transformers[0]
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    (block, *_) = transformer.get_submodule("blocks").children()
    with block.register_forward_hook(count):
        film = engine.render(job, unheard_step)
    return film, calls


@pytest.mark.parametrize("edited", [False, True])
def test_a_stopped_job_goes_on_where_it_was(journaling: PipelineEngine, edited: bool) -> None:
    source = job_of(journaling, "a car").spec.recipe if edited else None
    job = job_of(journaling, "a red car", source)
    whole, calls = computed(journaling, job)
    journaling.forget(job.spec)
    with pytest.raises(JobCancelled):
        journaling.render(job, Stopped(after=4))
    resumed, later_calls = computed(journaling, job)
    assert (resumed.frames == whole.frames).all()
    assert later_calls == calls * 2 // STEPS
    assert resumed.not_captured is None, "nothing was to be kept"
    journaling.forget(job.spec)
    assert computed(journaling, job)[1] == calls, "nothing is left of it"


def test_a_resumed_job_says_that_its_attention_is_not_kept(journaling: PipelineEngine) -> None:
    job = job_of(journaling, "a car", capture=CaptureSpec(scope="everything"))
    with pytest.raises(JobCancelled):
        journaling.render(job, Stopped(after=4))
    resumed = journaling.render(job, unheard_step)
    assert resumed.captured is None
    assert resumed.not_captured == RESUMED


def test_edits_from_latents_share_what_they_compute(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore, engine: PipelineEngine
) -> None:
    source = job_of(engine, "a car", capture=CaptureSpec(form="latents", scope="everything"))
    keep(engine.render(source, unheard_step))
    keeping = open_engine(model_folder, settings, objects, device_cache_bytes=64 << 20)
    edits = [
        anchored(job_of(engine, prompt, source.spec.recipe)) for prompt in ("a red car", "a dog")
    ]
    try:
        alone = [engine.render(edit, unheard_step) for edit in edits]
        made = [keeping.render(edit, unheard_step) for edit in edits]
    finally:
        keeping.close()
    for one, other in zip(alone, made, strict=True):
        assert (one.frames == other.frames).all()
    # three of six steps, in cond of two branches; and as much again for the source's layers
    assert [video.cost for video in alone] == [0.5, 0.5]
    assert [video.cost for video in made] == [0.5, 0.25]


def anchored(job: Job) -> Job:
    """The same edit, anchored at every second step."""
    transfer = TransferSpec(anchor=Anchor(interval=2))
    recipe = job.spec.recipe.model_copy(update={"transfer": transfer})
    return Job(spec=job.spec.model_copy(update={"recipe": recipe}), state=JobState())


@pytest.mark.parametrize("after", [1, 4, 5])
def test_a_stopped_anchored_edit_goes_on_where_it_was(
    journaling: PipelineEngine, after: int
) -> None:
    """Behind a step of its source, which left no hidden states this time, or behind its own."""
    source = job_of(journaling, "a car").spec.recipe
    job = anchored(job_of(journaling, "a red car", source))
    whole, calls = computed(journaling, job)
    journaling.forget(job.spec)
    with pytest.raises(JobCancelled):
        journaling.render(job, Stopped(after=after))
    resumed, later_calls = computed(journaling, job)
    assert (resumed.frames == whole.frames).all()
    if after > 1:  # behind step 0 the source's layers run again, for their hidden states
        assert later_calls < calls
    journaling.forget(job.spec)


def test_a_damaged_journal_is_computed_from_there(
    journaling: PipelineEngine, objects: ObjectStore
) -> None:
    job = job_of(journaling, "a car")
    whole, calls = computed(journaling, job)
    journaling.forget(job.spec)
    with pytest.raises(JobCancelled):
        journaling.render(job, Stopped(after=4))
    written = sorted(info.key for info in objects.list("journal"))
    assert len(written) == calls * 4 // STEPS
    objects.put(written[3], b"damaged")
    resumed, later_calls = computed(journaling, job)
    assert later_calls == calls - 3
    assert np.array_equal(resumed.frames, whole.frames)
