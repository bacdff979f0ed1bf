"""The bundled folder: loads through the ordinary loader, is stable, and does what it is for."""

from __future__ import annotations

import json

import pytest
import torch

from bench.edit_quality import choices_of
from tests.training.conftest import FOLDER
from training.anchored import generate_anchored
from training.edits import EDITS, SOURCE, score
from training.exchange import Exchange
from training.judge import Judge, Verdict, judge_films
from training.sampling import Settings, generate
from training.stock import Pipeline

pytestmark = pytest.mark.slow

SHORT = Settings(num_inference_steps=8)
SEEDS = [0, 1, 3]


def test_the_folder_is_a_stock_wan_pipeline_without_pickles(pipeline: Pipeline) -> None:
    index = json.loads((FOLDER / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    assert index["transformer"] == ["diffusers", "WanTransformer3DModel"]
    assert index["vae"] == ["diffusers", "AutoencoderKLWan"]
    assert index["text_encoder"] == ["transformers", "UMT5EncoderModel"]
    assert pipeline.transformer.dtype == torch.float32
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) < 40e6


def test_a_seed_gives_the_same_film_again(pipeline: Pipeline) -> None:
    few = Settings(num_inference_steps=2)
    first = generate(pipeline, [SOURCE], [5], few)
    assert first.shape == (1, 3, 17, 64, 96)
    assert torch.equal(first, generate(pipeline, [SOURCE], [5], few))
    assert not torch.equal(first, generate(pipeline, [SOURCE], [6], few))


def test_any_prompt_works(pipeline: Pipeline) -> None:
    film = generate(pipeline, ["Two purple elephants, 象 🚗"], [0], Settings(num_inference_steps=1))
    assert torch.isfinite(film).all()


@pytest.fixture(scope="module")
def shots(pipeline: Pipeline, judge: Judge) -> dict[str, tuple[torch.Tensor, Verdict]]:
    """Of three seeds: the source, red without transfer, and red and winter with it."""
    red, winter = EDITS[0], EDITS[2]
    exchange = Exchange(pipeline.transformer, SHORT.num_inference_steps)
    with exchange.capturing():
        source = generate(pipeline, [SOURCE] * len(SEEDS), SEEDS, SHORT)
    choices = choices_of(FOLDER, SHORT.num_inference_steps)
    anchored = [choices["recolour"], choices["restyle"]]
    edits = generate_anchored(
        pipeline, exchange, [red.prompt, winter.prompt], anchored, SEEDS, SHORT
    )
    with exchange.transferring([None]):
        plain = generate(pipeline, [red.prompt] * len(SEEDS), SEEDS, SHORT)
    names = ("source", "plain", "red", "winter")
    parts = (source, plain, *torch.split(edits, len(SEEDS)))
    return {n: (f, judge_films(judge, f)) for n, f in zip(names, parts, strict=True)}


def test_text_alone_shows_its_object_and_its_colour(
    shots: dict[str, tuple[torch.Tensor, Verdict]],
) -> None:
    assert shots["source"][1].obj.tolist() == [0, 0, 0]
    assert shots["plain"][1].colour.tolist() == [0, 0, 0]


def test_transfer_keeps_the_shot_where_a_plain_run_loses_it(
    shots: dict[str, tuple[torch.Tensor, Verdict]],
) -> None:
    source = shots["source"]
    plain = score(EDITS[0], *shots["plain"], *source)
    edit = score(EDITS[0], *shots["red"], *source)
    assert edit["structure"].mean() > plain["structure"].mean() + 0.08
    assert edit["iou"].mean() > plain["iou"].mean()
    assert edit["change_made"].mean() >= 2 / 3


def test_the_season_changes_with_the_sources_attention(
    shots: dict[str, tuple[torch.Tensor, Verdict]],
) -> None:
    edit = score(EDITS[2], *shots["winter"], *shots["source"])
    assert edit["change_made"].mean() >= 2 / 3
