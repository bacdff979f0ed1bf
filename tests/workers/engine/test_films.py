"""Edits of uploaded films by the engine that serves: stored, shared, replayed, and what fails."""

import io
from fractions import Fraction
from hashlib import sha256
from typing import Any

import av
import numpy as np
import pytest

from schemas.attention import Anchor, CaptureSpec, TransferSpec
from schemas.errors import FilmUnreadable, UploadMissing
from schemas.films.film import Film
from schemas.films.upload import upload_key
from schemas.jobs import Job, JobSpec, JobState
from schemas.recipes import Recipe
from storage.films.sound import RATE
from storage.objects.objects import ObjectStore
from tests import tiny
from tests.workers.engine.test_engine import unheard_step
from workers.control.media import encode_media
from workers.engine.engine import PipelineEngine
from workers.media_settings import MediaSettings

STEPS = 6
ANCHOR = TransferSpec(anchor=Anchor(interval=3))  # steps 0 and 3
HIDDEN = CaptureSpec(form="hidden")


def video_file(*, sound: bool = False) -> bytes:
    """Eight frames of colours that change, with a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        track: Any = container.add_stream("aac", rate=RATE) if sound else None
        for number in range(8):
            image = np.full((32, 48, 3), (30 * number, 200 - 20 * number, 90), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            tone = np.sin(np.arange(RATE) / 20).astype(np.float32)[None] / 2
            piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            piece.rate = RATE
            container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return file.getvalue()


def film_recipe(engine: PipelineEngine, data: bytes, objects: ObjectStore | None) -> Recipe:
    """The source that ``data`` is, uploaded to ``objects``."""
    digest = sha256(data).hexdigest()
    if objects is not None:
        objects.put(upload_key("tests", digest), data)
    generation = tiny.recipe(engine.model("tiny"), "a car", num_inference_steps=STEPS).generation
    film = Film(sha256=digest, fps=generation.fps, audio=True)
    return Recipe(generation=generation, film=film)


def edit_of(source: Recipe, prompt: str, **more: Any) -> Job:
    generation = source.generation.model_copy(update={"prompt": prompt})
    recipe = Recipe(generation=generation, source=source, transfer=ANCHOR)
    spec = JobSpec(
        id=f"video_{prompt.replace(' ', ''):0>8}",
        project="tests",
        recipe=recipe,
        source_key=recipe.key("tests"),
        edit_source_key=source.key("tests"),
        created_at=0,
        **more,
    )
    return Job(spec=spec, state=JobState())


def test_the_first_edit_stores_the_films_attention_and_others_share_it(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    source = film_recipe(engine, video_file(), objects)
    told: list[tuple[int, int]] = []
    first = engine.render(
        edit_of(source, "a red car", film_capture=HIDDEN), lambda *at: told.append(at)
    )
    assert told == [(step, 2 * STEPS) for step in range(1, 2 * STEPS + 1)]
    second = engine.render(edit_of(source, "a dog", film_capture=HIDDEN), unheard_step)
    assert (first.attention, second.attention) == ("stored", "stored")
    branches = 2
    assert second.cost is not None
    assert second.cost == pytest.approx(2 / (STEPS * branches), abs=1e-4)
    assert (first.cost or 0) > second.cost
    assert len([*objects.list(f"manifests/tests/{source.key('tests')}")]) == 1
    # without a capture the film is run beside each edit, to the same video
    replayed = engine.render(edit_of(source, "a grey dog"), unheard_step)
    objects.delete_prefix("manifests")
    alone = engine.render(edit_of(source, "a dog"), unheard_step)
    assert (replayed.attention, alone.attention) == ("stored", "replayed")
    assert alone.cost == pytest.approx(4 / (STEPS * branches), abs=1e-4)
    assert np.array_equal(alone.frames, second.frames)


def test_its_own_prompt_gives_what_the_vae_makes_of_it(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    source = film_recipe(engine, video_file(), objects)
    own = engine.render(edit_of(source, "a car"), unheard_step)
    other = engine.render(edit_of(source, "some dog"), unheard_step)
    assert not np.array_equal(own.frames, other.frames)


def test_an_edit_of_an_edit(engine: PipelineEngine, objects: ObjectStore) -> None:
    source = film_recipe(engine, video_file(), objects)
    first = edit_of(source, "a red car", film_capture=HIDDEN, capture=HIDDEN)
    made = engine.render(first, unheard_step)
    assert made.captured is not None
    made.captured.publish()
    second = edit_of(first.spec.recipe, "a red dog")
    by_store = engine.render(second, unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(second, unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    assert np.abs(by_store.frames.astype(int) - replayed.frames).max() <= 1


def test_the_sound_goes_with_the_video(engine: PipelineEngine, objects: ObjectStore) -> None:
    source = film_recipe(engine, video_file(sound=True), objects)
    made = engine.render(edit_of(source, "a red car"), unheard_step)
    assert made.sound is not None
    fps, seconds = source.generation.fps, source.generation.num_frames / source.generation.fps
    assert len(made.sound) == round(seconds * RATE) * 4
    file = encode_media(made.frames, fps, MediaSettings(), made.sound).video
    with av.open(io.BytesIO(file), "r") as container:
        assert len([*container.decode(video=0)]) == len(made.frames)
    with av.open(io.BytesIO(file), "r") as container:
        heard = np.concatenate([each.to_ndarray() for each in container.decode(audio=0)], axis=1)
    assert abs(heard.shape[1] / RATE - seconds) < 0.1
    assert np.abs(heard).mean() > 0.1


@pytest.mark.parametrize(
    ("data", "error"), [(None, UploadMissing), (video_file()[:900], FilmUnreadable)]
)
def test_what_cannot_be_read_fails_the_job_with_a_reason(
    engine: PipelineEngine, objects: ObjectStore, data: bytes | None, error: type[Exception]
) -> None:
    source = film_recipe(engine, data or b"gone", objects if data else None)
    for kept in (None, HIDDEN):
        with pytest.raises(error):
            engine.render(edit_of(source, "a red car", film_capture=kept), unheard_step)
    assert [*objects.list("artifacts")] == []
