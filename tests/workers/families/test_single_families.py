"""What single families do otherwise than the rest, and checkpoints that cannot be served."""

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.recipes import Recipe
from tests.workers.bench import same_to_rounding
from tests.workers.families.builders_pictures import hunyuan_video_i2v, ltx_i2v
from tests.workers.families.cases import CASES, Runs
from workers.families.registry import FAMILIES, NOT_SERVED


def case_of(name: str) -> Any:
    return next(case for case in CASES if case.name == name)


def test_ltx_condition_makes_videos_from_text_alone_too(tmp_path: Path) -> None:
    case = case_of("ltx-condition")
    runs = Runs(case.load(tmp_path), case=case)
    assert runs.model.card.inputs == ("text", "image")
    assert runs.model.card.required_inputs == ("text",)
    pictured = runs.source
    source = pictured.model_copy(
        update={"generation": pictured.generation.model_copy(update={"picture": None})}
    )
    maps, plain = runs.captured(source, "latents")
    assert not torch.equal(plain, runs.plain("a car"))
    own = runs.edit(source, "a car")
    assert torch.equal(runs.latents_of(own, transfer_from=maps, form="latents"), plain)
    edit = runs.edit(source, "some dog")
    edited = runs.latents_of(edit, transfer_from=maps, form="latents")
    assert not torch.equal(edited, plain)
    assert torch.equal(runs.latents_of(edit)[-2:], edited)


def test_wans_second_expert_has_a_guidance_of_its_own(tmp_path: Path) -> None:
    """Like one of the model's settings, over which it wins; an edit may have another."""
    case = case_of("wan-a14b")
    runs = Runs(case.load(tmp_path, call={"guidance_scale_2": 1.5}), case=case)
    card = runs.model.card
    assert (card.supports_guidance_scale_2, card.guidance_scale_2) == (True, 1.5)
    source = runs.recipe("a car", guidance_scale_2=6.0)
    maps, asked = runs.captured(source, "hidden")
    assert not torch.equal(asked, runs.plain("a car"))
    by_setting = Runs(case.load(tmp_path, call={"guidance_scale_2": 6.0}), case=case)
    assert torch.equal(asked, by_setting.plain("a car"))
    edit = runs.edit(source, "a car")
    changed = edit.generation.model_copy(update={"guidance_scale_2": 4.0})
    edit = edit.model_copy(update={"generation": changed})
    edited = runs.latents_of(edit, transfer_from=maps)
    assert not torch.equal(edited, asked)
    assert torch.equal(runs.latents_of(edit)[-2:], edited)
    assert not case_of("wan").load(tmp_path).card.supports_guidance_scale_2


def test_mochi_zeroes_empty_negative_prompts_row_by_row(tmp_path: Path) -> None:
    """Its pipeline looks at the last row's alone, and zeroes the prompts of all."""
    case = case_of("mochi")
    model = case.load(tmp_path)
    model.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    runs = Runs(model, case=case)
    source = runs.recipe("a car", negative_prompt="blurred")
    maps, _ = runs.captured(source, "hidden")
    edit = runs.edit(source, "some dog")
    words = edit.generation.model_copy(update={"negative_prompt": ""})
    edit = Recipe(generation=words, source=source, transfer=edit.transfer)
    stored = runs.latents_of(edit, transfer_from=maps)
    plain = runs.latents_of(Recipe(generation=words))
    replayed = runs.latents_of(edit)[-len(stored) :]
    assert same_to_rounding(replayed, stored, plain)


def test_hunyuan_video_of_33_channels_is_refused(tmp_path: Path) -> None:
    pipeline = hunyuan_video_i2v()
    pipeline.transformer.register_to_config(image_condition_type="latent_concat")
    with pytest.raises(ValueError, match="HunyuanVideo-I2V-33ch is not served"):
        FAMILIES[type(pipeline).__name__].check(pipeline)


def test_ltx_whose_vae_draws_noise_is_refused_with_the_pipeline_that_can() -> None:
    pipeline = ltx_i2v()
    pipeline.vae.register_to_config(timestep_conditioning=True)
    with pytest.raises(ValueError, match="set pipeline: LTXConditionPipeline"):
        FAMILIES[type(pipeline).__name__].check(pipeline)


def test_kandinsky_is_not_offered_shorter_than_what_it_normalises(tmp_path: Path) -> None:
    model = case_of("kandinsky-5-i2v").load(tmp_path)
    assert model.card.num_frames.minimum == 17  # five latent frames: four, and one behind them


def test_no_pipeline_is_both_served_and_refused() -> None:
    assert not set(NOT_SERVED) & set(FAMILIES)
