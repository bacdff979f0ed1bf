"""The models of a process: one bad folder among good ones, and a budget of memory."""

import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import Unsupported
from storage.settings import StorageSettings
from tests import tiny
from tests.workers.bench import generate
from tests.workers.families.builders_cross import allegro
from workers.model_settings import ModelSettings
from workers.models.model_cache import ModelCache, weight_bytes
from workers.models.pipelines import ModelLoadError
from workers.settings import WorkerSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def size(folder: Path) -> int:
    """Bytes of the tiny model's weights."""
    return weight_bytes(ModelCache(settings_of(named("a", folder))).get("a"))


def named(id: str, folder: Path, **more: Any) -> ModelSettings:
    values = {"dtype": "float32", "defaults": tiny.DEFAULTS, **more}
    return ModelSettings(id=id, path=str(folder), **values)


def settings_of(*models: ModelSettings, **more: Any) -> WorkerSettings:
    nowhere = StorageSettings(redis_url="redis://127.0.0.1:1", object_url="file:///nowhere")
    return WorkerSettings(storage=nowhere, models=models, threads=1, **more)


def test_what_does_not_load_is_left_out_and_the_others_are_served(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    tiny.wan().save_pretrained(tmp_path / "cut", safe_serialization=True)
    weights = tmp_path / "cut" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    tiny.wan().save_pretrained(tmp_path / "said", safe_serialization=True)
    (tmp_path / "said" / "retake.json").write_text('{"width": "wide"}')
    bad = [
        named("missing", tmp_path / "nowhere"),
        named("empty", tmp_path / "empty"),
        named("cut", tmp_path / "cut"),
        named("said", tmp_path / "said"),
        named("lora", folder, loras={"sketch": {"path": str(tmp_path / "no-lora")}}),
        named("device", folder, device="quantum"),
        named("backend", folder, attention_backend="none_such"),
    ]
    with caplog.at_level(logging.ERROR, logger="retake.pipelines"):
        cache = ModelCache(settings_of(*bad[:4], named("good", folder), *bad[4:]))
    assert [card.id for card in cache.cards()] == ["good"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(bad)
    for model, line in zip(bad, told, strict=True):
        assert line.startswith(f"model {model.id} is not served: model '{model.id}':"), line
    assert "there is no folder" in told[0]
    assert "no readable model_index.json" in told[1]
    with pytest.raises(Unsupported, match="model: 'cut' is no longer served"):
        cache.get("cut")


def test_nothing_to_serve_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="models: none can be served"):
        ModelCache(settings_of(named("a", tmp_path), named("b", tmp_path / "nowhere")))


def test_without_a_budget_all_stay_loaded(folder: Path) -> None:
    cache = ModelCache(settings_of(named("a", folder), named("b", folder)))
    assert cache.loaded() == ["a", "b"]


@pytest.mark.slow
def test_the_model_not_used_for_longest_makes_room(folder: Path, size: int) -> None:
    models = [named(id, folder) for id in "abc"]
    cache = ModelCache(settings_of(*models, model_memory_bytes=2 * size + size // 2))
    assert [card.id for card in cache.cards()] == ["a", "b", "c"]
    assert cache.loaded() == ["b", "c"]
    cache.get("b")
    cache.get("a")
    assert cache.loaded() == ["b", "a"]


@pytest.mark.slow
def test_what_made_room_is_freed_and_comes_back_the_same(folder: Path, size: int) -> None:
    models = [named(id, folder) for id in "ab"]
    cache = ModelCache(settings_of(*models, model_memory_bytes=size + size // 2))
    model = cache.get("a")
    frames = generate(model, tiny.recipe(model))
    weights = weakref.ref(model.pipeline.transformer)
    del model
    cache.get("b")
    assert cache.loaded() == ["b"]
    assert weights() is None, "somebody keeps it"
    again = cache.get("a")
    assert (generate(again, tiny.recipe(again)) == frames).all()


def test_a_model_over_the_whole_budget_is_not_served(
    folder: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    models = named("a", folder), named("half", folder, dtype="bfloat16")
    cache = ModelCache(settings_of(*models, model_memory_bytes=size - 1))
    assert [card.id for card in cache.cards()] == ["half"]
    assert f"takes {size} bytes; model_memory_bytes allows {size - 1}" in caplog.text


def test_ranks_that_do_not_go_together_are_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="'b' has ranks 2; allowed beside a model of 4 is"):
        settings_of(named("a", folder, ranks=4), named("b", folder, ranks=2))
    assert settings_of(named("a", folder, ranks=4), named("b", folder)).ranks == 4
    for name, value in (("compile", "default"), ("offload", "group")):
        with pytest.raises(ValidationError, match=f"{name}: '{value}' does not go with ranks 2"):
            named("a", folder, ranks=2, **{name: value})


def test_ranks_need_a_group_and_a_family_that_can_be_spread(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    allegro().save_pretrained(tmp_path, safe_serialization=True)
    spread = named("a", folder, ranks=2), named("b", tmp_path, ranks=2)
    cache = ModelCache(settings_of(*spread, named("c", folder)))
    assert [card.id for card in cache.cards()] == ["c"]
    assert "'a': ranks: 2, but this process is one of 1" in caplog.text
    assert "'b': ranks: 2 is not possible, allegro cannot be spread; allowed is 1" in caplog.text
