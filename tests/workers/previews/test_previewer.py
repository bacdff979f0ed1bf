"""What a previewer does around a run: small, of the job's own steps, and never in its way."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.attention import TransferSpec
from schemas.recipes import Recipe
from tests import tiny
from tests.workers.bench import Bench, generate
from tests.workers.previews.watched import pixels, spec_of, watched
from workers.models.pipelines import LoadedModel
from workers.previews import previewer
from workers.previews.previewer import LONG_SIDE, Previews, encode_jpeg


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny.load(tiny.wan(), tmp_path_factory.mktemp("wan"))


def failing(*_: object, **__: object) -> Any:
    raise OSError("a fault of a picture")


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(96, 64, (96, 64)), (1280, 720, (256, 144)), (480, 832, (148, 256)), (10_000, 16, (256, 1))],
)
def test_size_is_the_films_and_bounded(width: int, height: int, size: tuple[int, int]) -> None:
    jpeg = encode_jpeg(np.zeros((4, 6, 3), np.uint8), width, height)
    assert pixels(jpeg).shape == (size[1], size[0], 3)


def test_the_largest_is_small() -> None:
    """Noise in every pixel: no picture of a film is as hard to code."""
    noise = np.random.default_rng(0).integers(0, 256, (LONG_SIDE, LONG_SIDE, 3), dtype=np.uint8)
    assert len(encode_jpeg(noise, LONG_SIDE, LONG_SIDE)) < 64 << 10


def test_a_fault_ends_the_previews_and_not_the_run(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny.recipe(model)
    plain = generate(model, recipe)
    monkeypatch.setattr(previewer, "encode_jpeg", failing)
    with caplog.at_level(logging.WARNING, "retake.worker"):
        frames, jpegs = watched(model, recipe, 1)
    assert jpegs == {}
    assert np.array_equal(frames, plain)
    assert [record.message for record in caplog.records] == ["job=video_00000001 previews given up"]


def test_a_vae_that_does_not_encode_is_asked_once(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(model.pipeline.vae, "encode", failing)
    previews, spec = Previews(), spec_of(tiny.recipe(model), 1)
    with caplog.at_level(logging.ERROR, "retake.worker"):
        assert previews.of(model, spec) is None
        assert previews.of(model, spec) is None
    assert [record.message for record in caplog.records] == ["model tiny makes no previews"]


def test_an_edit_beside_its_source_shows_itself(model: LoadedModel) -> None:
    """As a row of one batch with its source, and alone with its source's maps."""
    bench = Bench(model)
    source = bench.recipe("a car")
    edit = bench.edit(source, "some dog")
    maps, _ = bench.captured(source, "hidden")
    alone = watched(model, edit, 3, transfer_from=maps)[1][3]
    beside = watched(model, edit, 3)[1][3]
    sources = watched(model, source, 3)[1][3]
    assert np.abs(pixels(beside) - pixels(alone)).max() <= 4  # a batch rounds otherwise
    assert np.abs(pixels(beside) - pixels(sources)).max() > 16


def test_a_source_that_runs_first_is_not_shown(model: LoadedModel) -> None:
    source = tiny.recipe(model)
    changed = source.generation.model_copy(update={"prompt": "some dog", "guidance_scale": 2.0})
    edit = Recipe(generation=changed, source=source, transfer=TransferSpec())
    previewer = Previews().of(model, spec_of(edit, 1))
    assert previewer is not None
    seen: list[tuple[bool, bool]] = []
    generate(
        model,
        edit,
        on_step=lambda info: seen.append((info.own, previewer.after_step(info) is not None)),
    )
    assert seen == [(False, False)] * tiny.STEPS + [(True, True)] * tiny.STEPS


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"offload": "group"},
        {"offload": "model", "device": "cpu"},
        {"dtype": "bfloat16"},
        {"vae_tiling": True},
    ],
    ids=str,
)
def test_however_the_model_is_loaded(tmp_path: Path, settings: dict[str, Any]) -> None:
    other = tiny.load(tiny.wan(), tmp_path, **settings)
    recipe = tiny.recipe(other)
    plain = generate(other, recipe)
    frames, jpegs = watched(other, recipe, 3)
    assert np.array_equal(frames, plain)
    assert pixels(jpegs[3]).std() > 1
