"""Edits that are kept to a region, by the engine that serves: outside it they are their source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from schemas.errors import PictureMissing, WordUnread
from schemas.films.region import EditRegion
from schemas.jobs import Job, JobState
from schemas.recipes import Recipe, pixels_hash
from storage.objects.objects import ObjectStore
from tests import tiny
from tests.workers.engine.engines import open_engine
from tests.workers.engine.test_engine import unheard_step
from tests.workers.engine.test_films import HIDDEN, STEPS, edit_of, film_recipe, video_file
from tests.workers.families.parts import save_clip
from workers.control.engine_protocol import RenderedVideo
from workers.control.media import encode_region
from workers.engine.engine import PipelineEngine
from workers.engine.text_agreement import open_text_agreement
from workers.families.pixels import Frames
from workers.settings import WorkerSettings

encoders: Any = transformers  # untyped
SIDE = slice(0, 16)  # the left half of 32 columns is edited


def mask_of(columns: slice) -> Image.Image:
    pixels = np.zeros((tiny.HEIGHT, tiny.WIDTH), np.uint8)
    pixels[:, columns] = 255
    return Image.fromarray(pixels)


def kept_to(objects: ObjectStore, job: Job, columns: slice, *more: slice, softness: int = 0) -> Job:
    """``job`` with a region of those columns; ``more``: those of its sources with a region."""
    image = mask_of(columns)
    name = pixels_hash(*image.size, image.tobytes(), "L")
    region = EditRegion(mask=name, softness=softness)
    recipe = job.spec.recipe.model_copy(update={"region": region})
    changes = {"recipe": recipe, "source_key": recipe.key("tests")}
    spec = job.spec.model_copy(update=changes)
    for each in (columns, *more):
        picture = mask_of(each)
        name = pixels_hash(*picture.size, picture.tobytes(), "L")
        objects.put(spec.picture_key(name), encode_region(np.asarray(picture)[None], 8))
    return Job(spec=spec, state=JobState())


def differs(frames: Frames, other: Frames, columns: slice) -> int:
    """The most by which they do, in those columns."""
    return int(np.abs(frames[:, :, columns].astype(int) - other[:, :, columns]).max())


def published(video: RenderedVideo) -> RenderedVideo:
    assert video.captured is not None
    video.captured.publish()
    return video


def test_outside_a_films_edit_is_the_film_itself(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    source = film_recipe(engine, video_file(), objects)
    job = kept_to(objects, edit_of(source, "a red dog", film_capture=HIDDEN), SIDE)
    free = engine.render(edit_of(source, "a red dog"), unheard_step)
    by_store = engine.render(job, unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(edit_with_region_only(job), unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    assert np.array_equal(by_store.frames, replayed.frames)

    again = film_recipe(engine, video_file(), None)
    film = engine_frames(engine, again, objects)
    assert differs(by_store.frames, film, slice(16, None)) == 0
    assert differs(by_store.frames, film, SIDE) > 20
    assert differs(by_store.frames, free.frames, slice(16, None)) > 0
    assert by_store.region is not None
    assert np.array_equal(by_store.region[0], np.asarray(mask_of(SIDE)))

    metrics = replayed.metrics  # of the passes two are the film's
    assert metrics is not None
    assert (metrics.outside_psnr_db, metrics.tokens_computed, metrics.passes) == (100, 1, 4)
    assert metrics.change_inside is not None
    assert metrics.change_inside > 0.02
    assert free.metrics is not None
    assert free.metrics.outside_psnr_db is None
    assert free.metrics.text_agreement is None
    assert free.metrics.structure is not None  # 0: a film of plain colours has no edges


def edit_with_region_only(job: Job) -> Job:
    """``job``, which does not store its film's attention."""
    return Job(spec=job.spec.model_copy(update={"film_capture": None}), state=JobState())


def engine_frames(engine: PipelineEngine, source: Recipe, objects: ObjectStore) -> Frames:
    """The film as it is fitted: an edit whose region leaves out one column changes that alone."""
    job = kept_to(objects, edit_of(source, "a dog"), slice(0, 1))
    left = engine.render(job, unheard_step).frames
    job = kept_to(objects, edit_of(source, "a dog"), slice(31, 32))
    right = engine.render(job, unheard_step).frames
    return np.concatenate([right[:, :, :16], left[:, :, 16:]], axis=2)


def test_where_a_clip_model_is_configured_edits_are_measured_against_their_prompt(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore, tmp_path: Path
) -> None:
    save_clip(tmp_path)
    settings = settings.model_copy(update={"text_agreement_model": str(tmp_path)})
    engine = open_engine(model_folder, settings, objects)
    source = film_recipe(engine, video_file(), objects)
    video = engine.render(edit_of(source, "a red dog"), unheard_step)
    engine.close()
    clip = encoders.CLIPModel.from_pretrained(tmp_path)
    processor = encoders.CLIPProcessor.from_pretrained(tmp_path)
    given = processor(text=["a red dog"], images=[*video.frames], return_tensors="pt")
    with torch.no_grad():
        logits = clip(**given).logits_per_image / clip.logit_scale.exp()
    assert video.metrics is not None
    assert video.metrics.text_agreement == pytest.approx(float(logits.mean()), abs=1e-4)


def test_a_folder_without_a_clip_model_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match=f"text_agreement_model: {folder}"):
            open_text_agreement(str(folder))
    assert open_text_agreement(None) is None


def test_a_generated_source_stays_what_its_run_was(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    generation = tiny.recipe(engine.model("tiny"), "a car", num_inference_steps=STEPS).generation
    source = Recipe(generation=generation)
    plain = edit_of(source, "unused", capture=HIDDEN)
    spec = plain.spec.model_copy(
        update={
            "recipe": source,
            "source_key": source.key("tests"),
            "edit_source_key": None,
        }
    )
    made = published(engine.render(Job(spec=spec, state=JobState()), unheard_step))
    job = kept_to(objects, edit_of(source, "a red dog"), SIDE, softness=8)
    by_store = engine.render(job, unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(job, unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    assert np.array_equal(by_store.frames, replayed.frames)
    assert differs(by_store.frames, made.frames, slice(24, None)) == 0
    assert differs(by_store.frames, made.frames, slice(16, 24)) > 0  # the edge fades
    assert differs(by_store.frames, made.frames, SIDE) > 20


def test_an_edit_of_such_an_edit_keeps_what_that_was(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    """Its source is what clients saw: the film outside the first region, not the VAE's idea of
    it."""
    source = film_recipe(engine, video_file(), objects)
    first = kept_to(
        objects, edit_of(source, "a red dog", film_capture=HIDDEN, capture=HIDDEN), SIDE
    )
    made = published(engine.render(first, unheard_step))
    second = kept_to(objects, edit_of(first.spec.recipe, "a blue cat"), slice(8, 24), SIDE)
    by_store = engine.render(second, unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(second, unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    for video in (by_store, replayed):
        assert differs(video.frames, made.frames, slice(0, 8)) <= (video is replayed)
        assert differs(video.frames, made.frames, slice(24, None)) == 0
        assert differs(video.frames, made.frames, slice(8, 24)) > 20


def test_a_region_that_the_run_finds_itself(engine: PipelineEngine, objects: ObjectStore) -> None:
    """White is where one pass in the middle of the run finds the most to change."""
    source = film_recipe(engine, video_file(), objects)
    job = edit_of(source, "a red dog", film_capture=HIDDEN)
    recipe = job.spec.recipe.model_copy(update={"region": EditRegion(mask=None)})
    spec = job.spec.model_copy(update={"recipe": recipe, "source_key": recipe.key("tests")})
    by_store = engine.render(Job(spec=spec, state=JobState()), unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(edit_with_region_only(Job(spec=spec, state=JobState())), unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    assert by_store.region is not None
    assert replayed.region is not None
    assert np.array_equal(by_store.region, replayed.region)
    assert np.array_equal(by_store.frames, replayed.frames)
    white = by_store.region > 0
    assert white.shape == by_store.frames.shape[:3]
    assert 0 < white.mean() < 1
    film = engine_frames(engine, source, objects)
    assert np.array_equal(by_store.frames[~white], film[~white])
    assert not np.array_equal(by_store.frames[white], film[white])
    assert replayed.metrics is not None
    assert replayed.metrics.passes == 5  # of the film, of the search, of the edit: 2, 1, 2


CAR = slice(2, 6)  # of the tokens of "a car": a space, a, a space, c, a, r
LOOKED_AT = (0, 7)  # of 2x2x2 tokens: above on the left in the first frame, below on the right


def made_to_look(engine: PipelineEngine) -> None:
    """Let the tokens of ``LOOKED_AT`` attend to ``CAR``, and the others to everything but that."""

    def queries(_: Any, __: Any, query: Tensor) -> Tensor:
        made = torch.full_like(query, -1)
        made[:, list(LOOKED_AT)] = 1
        return made

    def keys(_: Any, __: Any, key: Tensor) -> Tensor:
        made = torch.zeros_like(key)
        made[:, CAR] = 10
        return made

    for block in engine.model("tiny").pipeline.transformer.blocks:
        block.attn2.norm_q.register_forward_hook(queries)
        block.attn2.norm_k.register_forward_hook(keys)


def worded(job: Job, word: str) -> Job:
    """``job`` with the region of that word of its source."""
    region = EditRegion(mask=None, word=word)
    recipe = job.spec.recipe.model_copy(update={"region": region})
    spec = job.spec.model_copy(update={"recipe": recipe, "source_key": recipe.key("tests")})
    return Job(spec=spec, state=JobState())


def test_a_region_where_the_source_looks_at_a_word(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    made_to_look(engine)
    source = film_recipe(engine, video_file(), objects)
    job = worded(edit_of(source, "some red dog", film_capture=HIDDEN), "CAR")
    by_store = engine.render(job, unheard_step)
    objects.delete_prefix("manifests")
    replayed = engine.render(edit_with_region_only(job), unheard_step)
    assert (by_store.attention, replayed.attention) == ("stored", "replayed")
    assert np.array_equal(by_store.frames, replayed.frames)
    looked_at = np.zeros((tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH), np.uint8)
    looked_at[0, :16, :16] = looked_at[1:, 16:, 16:] = 255
    for video in (by_store, replayed):
        assert video.region is not None
        assert np.array_equal(video.region, looked_at)
    assert replayed.metrics is not None
    assert replayed.metrics.passes == 5  # of the film, of the search, of the edit: 2, 1, 2
    assert replayed.metrics.outside_psnr_db == 100


def test_a_word_that_is_not_read_fails_the_job(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    source = film_recipe(engine, video_file(), objects)
    long = source.generation.model_copy(update={"prompt": 300 * "a " + "car"})
    source = source.model_copy(update={"generation": long})
    with pytest.raises(WordUnread, match=r"region\.word: 'car' .* first 511 tokens"):
        engine.render(worded(edit_of(source, "a red dog"), "car"), unheard_step)


def test_a_mask_that_is_gone_fails_the_job(engine: PipelineEngine, objects: ObjectStore) -> None:
    source = film_recipe(engine, video_file(), objects)
    job = kept_to(objects, edit_of(source, "a red dog"), SIDE)
    objects.delete_prefix(job.spec.folder)
    with pytest.raises(PictureMissing):
        engine.render(job, unheard_step)
