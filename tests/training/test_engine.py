"""The bench's batched transfer and the product's engine make the same edit."""

from __future__ import annotations

import numpy as np
import pytest

import schemas.attention
from schemas.attention import CaptureSpec, StepRange, TransferSpec
from schemas.recipes import Generation, Recipe
from schemas.resolve_capture import resolve_capture
from tests.training.conftest import FOLDER
from tests.workers.bench import generate as engine_generate
from training.anchored import generate_anchored
from training.edits import EDITS, SOURCE
from training.exchange import Anchor, Choice, Exchange
from training.sampling import Settings, generate
from training.stock import Pipeline
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model

pytestmark = pytest.mark.slow

FEW = Settings(num_inference_steps=3)
LAYERS = (2, 3, 6)


@pytest.fixture(scope="module")
def engine() -> LoadedModel:
    """The bundled model as the product loads it."""
    return load_model(ModelSettings(id="scenes", path=str(FOLDER), dtype="float32", device="cpu"))


def _recipe(engine: LoadedModel, prompt: str) -> Recipe:
    return Recipe(
        generation=Generation(
            model=engine.card.id,
            fingerprint=engine.card.fingerprint,
            prompt=prompt,
            negative_prompt="",
            seed=4,
            width=FEW.width,
            height=FEW.height,
            num_frames=FEW.num_frames,
            num_inference_steps=FEW.num_inference_steps,
            guidance_scale=FEW.guidance_scale,
            fps=8,
        )
    )


def test_the_engine_and_the_bench_make_the_same_edit(
    engine: LoadedModel, pipeline: Pipeline
) -> None:
    source, prompt, maps = _recipe(engine, SOURCE), EDITS[0].prompt, MemoryMaps()
    plan = resolve_capture(CaptureSpec(form="hidden", scope="everything"), engine.card, source)
    engine_generate(engine, source, capture=Capture(plan, maps))
    spec = TransferSpec(steps=StepRange(stop=2), source_branch="cond")
    edit = Recipe(generation=_recipe(engine, prompt).generation, source=source, transfer=spec)
    theirs = np.asarray(engine_generate(engine, edit, transfer_from=maps), dtype=np.float64)

    exchange = Exchange(pipeline.transformer, FEW.num_inference_steps)
    with exchange.capturing():
        generate(pipeline, [SOURCE], [4], FEW)
    with exchange.transferring([None, Choice(steps=(0, 2), source_branch="cond")]):
        films = generate(pipeline, [prompt, prompt], [4, 4], FEW)
    plain, ours = (films.permute(0, 2, 3, 4, 1).numpy() * 255).astype(np.float64)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(plain - ours).max() > 20, "the transfer changes the film"


@pytest.mark.slow
def test_the_engine_and_the_bench_make_the_same_anchored_edit(
    engine: LoadedModel, pipeline: Pipeline
) -> None:
    source, prompt, maps = _recipe(engine, SOURCE), EDITS[0].prompt, MemoryMaps()
    plan = resolve_capture(CaptureSpec(form="hidden"), engine.card, source)
    engine_generate(engine, source, capture=Capture(plan, maps))
    spec = TransferSpec(layers=LAYERS, anchor=schemas.attention.Anchor(interval=2, scale=1.5))
    edit = Recipe(generation=_recipe(engine, prompt).generation, source=source, transfer=spec)
    theirs = np.asarray(engine_generate(engine, edit, transfer_from=maps), dtype=np.float64)

    exchange = Exchange(pipeline.transformer, FEW.num_inference_steps)
    with exchange.capturing():
        generate(pipeline, [SOURCE], [4], FEW)
    choices = [Choice(layers=LAYERS, anchor=Anchor(2, 1.5)), Choice(anchor=Anchor(2, 0.0))]
    films = generate_anchored(pipeline, exchange, [prompt] * 2, choices, [4], FEW)
    ours, unchanged = (films.permute(0, 2, 3, 4, 1).numpy() * 255).astype(np.float64)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(unchanged - ours).max() > 20, "the edit changes the film"
