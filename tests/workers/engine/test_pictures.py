"""A tiny random Wan 2.1 I2V: the picture comes from the job's folder, and decides the video."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.attention import Anchor, CaptureSpec, TransferSpec
from schemas.errors import InvalidRequest, PictureMissing, Unsupported
from schemas.jobs import Job, JobSpec, JobState
from schemas.maps import Look, MapView
from schemas.recipes import Picture, Recipe, pixels_hash
from schemas.selection import resolve_recipe
from storage.objects.objects import ObjectStore
from tests import tiny
from workers.control.engine_protocol import RenderedVideo
from workers.engine.engine import PipelineEngine
from workers.generation.generate import generate
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel
from workers.settings import WorkerSettings

CAPTURE = CaptureSpec(form="hidden", codec="raw", scope="everything")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan-i2v")
    tiny.wan_i2v().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def engine(
    folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> Iterator[PipelineEngine]:
    model = ModelSettings(id="tiny", path=str(folder), dtype="float32", defaults=tiny.DEFAULTS)
    engine = PipelineEngine(settings.model_copy(update={"models": (model,)}), objects)
    yield engine
    engine.close()


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> tuple[Picture, bytes]:
    image, output = tiny.painting(*size, seed), io.BytesIO()
    image.save(output, "PNG")
    return Picture(sha256=pixels_hash(*size, image.tobytes())), output.getvalue()


def recipe(engine: PipelineEngine, seed: int, **changes: Any) -> Recipe:
    return tiny.recipe(engine.model("tiny"), picture=picture(seed)[0], **changes)


def edit(source: Recipe, prompt: str, seed: int, **transfer: Any) -> Recipe:
    changes = {"prompt": prompt, "picture": picture(seed)[0]}
    generation = source.generation.model_copy(update=changes)
    return Recipe(generation=generation, source=source, transfer=TransferSpec(**transfer))


def render(
    engine: PipelineEngine,
    objects: ObjectStore,
    recipe: Recipe,
    *seeds: int,
    id: str = "video_0001",
    capture: CaptureSpec | None = None,
) -> RenderedVideo:
    """The pictures of ``seeds`` are in the job's folder."""
    engine.model("tiny").pictures.clear()
    spec = JobSpec(
        id=id,
        project="p",
        recipe=recipe,
        source_key=recipe.key("p"),
        edit_source_key=recipe.source.key("p") if recipe.source else None,
        created_at=0,
        capture=capture,
    )
    for seed in seeds:
        shown, data = picture(seed)
        objects.put(spec.picture_key(shown.sha256), data)
    made = engine.render(Job(spec=spec, state=JobState()), lambda step, total: None)
    assert not engine.model("tiny").pictures
    return made


def distance(one: RenderedVideo, other: RenderedVideo) -> float:
    """Mean absolute difference of pixels, of 255."""
    return float(np.abs(one.frames.astype(int) - other.frames).mean())


def test_another_picture_is_another_video(engine: PipelineEngine, objects: ObjectStore) -> None:
    first, again = (render(engine, objects, recipe(engine, 0), 0) for _ in range(2))
    other = render(engine, objects, recipe(engine, 1), 1)
    assert np.array_equal(first.frames, again.frames)
    assert distance(first, other) > 5


def test_a_job_without_its_picture_fails_and_says_so(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    with pytest.raises(PictureMissing, match="is not stored"):
        render(engine, objects, recipe(engine, 0))
    key = f"videos/p/video_0001/pictures/{picture(0)[0].sha256}.png"
    for damaged in (b"no picture", picture(1)[1], picture(0)[1][:-40]):
        objects.put(key, damaged)
        with pytest.raises(PictureMissing, match="damaged"):
            render(engine, objects, recipe(engine, 0))


@pytest.mark.parametrize("anchor", [None, Anchor(interval=2)])
def test_an_edit_with_another_picture(
    engine: PipelineEngine, objects: ObjectStore, anchor: Anchor | None
) -> None:
    """The same prompt with another picture is no repetition of the source, and what is stored of
    it gives what its replay gives."""
    source = recipe(engine, 0)
    made = render(engine, objects, source, 0, id="video_0000", capture=CAPTURE)
    same = edit(source, source.generation.prompt, 0, anchor=anchor)
    other = edit(source, source.generation.prompt, 1, anchor=anchor)
    replayed = [render(engine, objects, each, 0, 1) for each in (same, other)]
    assert [each.attention for each in replayed] == ["replayed", "replayed"]
    assert distance(replayed[0], made) < 0.1  # in one batch a replay rounds otherwise
    assert distance(replayed[1], made) > 2
    assert made.captured is not None
    made.captured.publish()
    stored = render(engine, objects, other, 1)
    assert stored.attention == "stored"
    assert np.array_equal(stored.frames, replayed[1].frames)
    plain = render(engine, objects, Recipe(generation=other.generation), 1)
    assert distance(stored, plain) > 2


def test_a_replay_beside_its_edit_shares_one_picture_only(
    engine: PipelineEngine, objects: ObjectStore
) -> None:
    """With one picture, source and edit are one batch; with two they run in turn."""
    source = recipe(engine, 0)
    for seed in (0, 1):
        beside = render(engine, objects, edit(source, "some dog", seed, anchor=None), 0, 1)
        changes = {"prompt": "some dog", "picture": picture(seed)[0]}
        own = Recipe(generation=source.generation.model_copy(update=changes))
        alone = render(engine, objects, own, 0, 1)
        assert distance(beside, alone) > 1


def test_a_map_is_drawn(engine: PipelineEngine, objects: ObjectStore) -> None:
    look = Look(artifact_id=f"attn_{'0' * 64}_{'0' * 32}", view=MapView(bins=8))
    made = recipe(engine, 0)
    spec = JobSpec(
        id="map_0001", project="p", recipe=made, source_key=made.key("p"), created_at=0, look=look
    )
    objects.put(spec.picture_key(picture(0)[0].sha256), picture(0)[1])
    png = engine.draw(Job(spec=spec, state=JobState()), lambda step, total: None)
    assert Image.open(io.BytesIO(png)).format == "PNG"


def test_a_recipe_must_fit_what_the_model_takes(engine: PipelineEngine, tmp_path: Path) -> None:
    model = engine.model("tiny")
    generation = recipe(engine, 0).generation.model_copy(update={"picture": None})
    with pytest.raises(InvalidRequest, match="starts from a picture"):
        run(model, Recipe(generation=generation))
    text_only = tiny.load(tiny.wan(), tmp_path / "wan")
    with pytest.raises(Unsupported, match="starts from text alone"):
        run(text_only, tiny.recipe(text_only, picture=picture(0)[0]))


def run(model: LoadedModel, recipe: Recipe) -> None:
    generate(model, resolve_recipe(recipe, model.card))
