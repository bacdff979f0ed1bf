"""What a job would stop at is found when a model is loaded."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import Unsupported
from schemas.recipes import Recipe
from storage.settings import StorageSettings
from tests import tiny
from tests.tiny import parts
from tests.workers.bench import Bench, generate
from tests.workers.families.cases import CASES
from workers.engine.dry_run import dry_run
from workers.model_settings import ModelSettings
from workers.models.model_cache import ModelCache
from workers.models.pipelines import ModelLoadError
from workers.settings import WorkerSettings


def cache_of(pipeline: Any, folder: Path) -> ModelCache:
    pipeline.save_pretrained(folder, safe_serialization=True)
    model = ModelSettings(id="tiny", path=str(folder), dtype="float32", defaults=tiny.DEFAULTS)
    nowhere = StorageSettings(redis_url="redis://127.0.0.1:1", object_url="file:///nowhere")
    settings = WorkerSettings(storage=nowhere, models=(model,), threads=1)
    return ModelCache(settings, try_out=dry_run)


def test_a_usual_model_keeps_attention(tmp_path: Path) -> None:
    (card,) = cache_of(tiny.wan(), tmp_path).cards()
    assert card.supports_transfer


def test_a_scheduler_of_two_calls_a_step_is_served_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = tiny.wan()
    pipeline.scheduler = parts.FlowMatchHeunDiscreteScheduler()
    with caplog.at_level(logging.WARNING, logger="retake.pipelines"):
        cache = cache_of(pipeline, tmp_path)
    model = cache.get("tiny")
    assert "served without capture and edits" in caplog.text
    assert "FlowMatchHeunDiscreteScheduler" in model.card.no_transfer_reason
    bench = Bench(model)
    assert generate(model, bench.recipe()).std() > 0
    with pytest.raises(Unsupported, match="cannot be kept: its steps are not those"):
        bench.captured(bench.recipe(), "hidden")


def test_a_guider_that_stops_early_is_served_without(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "motif-video")
    model = case.load(tmp_path)
    assert dry_run(model) is None
    pipeline = model.pipeline
    pipeline.guider = pipeline.guider.new(stop=0.6)
    assert dry_run(model) == "its guider guides from 0 to 0.6 of the steps alone"
    plain = Recipe(generation=Bench(model).recipe(num_inference_steps=4).generation)
    assert generate(model, plain).std() > 0


def test_noise_that_no_seed_decides_is_refused(tmp_path: Path) -> None:
    model = tiny.load(tiny.wan(), tmp_path)
    scheduler = model.pipeline.scheduler
    stock = type(scheduler).step

    class Careless(type(scheduler)):  # type: ignore[misc]  # diffusers is untyped
        def step(self, *args: Any, **kwargs: Any) -> Any:
            (latents,) = stock(self, *args, **kwargs)
            return (latents + torch.randn_like(latents),)

    scheduler.__class__ = Careless
    with pytest.raises(ModelLoadError, match="noise is drawn that no seed decides"):
        dry_run(model)


def test_a_model_that_overflows_is_not_served(tmp_path: Path) -> None:
    pipeline = tiny.wan()
    with torch.no_grad():
        pipeline.transformer.proj_out.bias[0] = float("nan")
    with pytest.raises(ModelLoadError, match="none can be served"):
        cache_of(pipeline, tmp_path)
