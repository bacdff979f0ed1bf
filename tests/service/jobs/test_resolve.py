"""Requests against a card: defaults, limits, and what an edit shares with its source."""

import pytest
from pydantic import ValidationError

from schemas.attention import Anchor, CaptureSpec, StepCache, StepRange, TransferSpec
from schemas.errors import InvalidRequest, SourceMismatch, Unsupported
from schemas.recipes import Recipe
from schemas.requests import Settings
from service.jobs.captures import capture_spec
from service.jobs.resolve import (
    edit_generation,
    edit_recipe,
    new_generation,
    plain_transfer,
)
from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.service.worker import CARD

STORES = StorageSettings(redis_url="unix:///unused", object_url="file:///unused")
SETTINGS = ServiceSettings(storage=STORES)
SOURCE = new_generation(Settings(seed=7, negative_prompt="blurry"), "A car.", CARD)


def test_what_is_left_open_is_the_models() -> None:
    run = new_generation(Settings(), "A car.", CARD)
    assert (run.size, run.num_frames, run.fps) == ("96x64", 17, 8)
    assert (run.num_inference_steps, run.guidance_scale) == (4, 4.0)
    assert run.fingerprint == CARD.fingerprint
    assert run.seed != new_generation(Settings(), "A car.", CARD).seed


@pytest.mark.parametrize(("seconds", "frames"), [("2", 17), ("1", 9), ("4.1", 33), ("0", 1)])
def test_seconds_become_the_nearest_frames(seconds: str, frames: int) -> None:
    assert new_generation(Settings(seconds=seconds), "A car.", CARD).num_frames == frames


@pytest.mark.parametrize(
    ("asked", "param", "says"),
    [
        (Settings(size="4096x64"), "size", "widths 32 to 128 in multiples of 16"),
        (Settings(size="100x64"), "size", "nearest is 96"),
        (Settings(size="128x128"), "size", "at most 9216 pixels in all; nearest is 96x96"),
        (Settings(seconds="60"), "seconds", "'60' is not allowed at 8 frames a second"),
        (Settings(num_frames=16), "num_frames", "of the form 4k+1"),
        (Settings(fps=60), "fps", "allowed is 1 to 30"),
        (Settings(num_inference_steps=51), "num_inference_steps", "allowed is 1 to 50"),
        (Settings(guidance_scale=50), "guidance_scale", "allowed is 0 to 20"),
        (Settings(negative_prompt="x" * 201), "negative_prompt", "201 characters"),
        (Settings(loras=(("../../etc/passwd", 1.0),)), "loras", "offers none"),
    ],
)
def test_beyond_the_models_limits_is_refused(asked: Settings, param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        new_generation(asked, "A car.", CARD)
    assert caught.value.param == param
    assert says in caught.value.message


def test_a_step_cache_is_refreshed_where_default_edits_compute() -> None:
    card = CARD.model_copy(update={"supports_step_cache": True})
    asked = Settings(seed=7, num_inference_steps=50, step_cache=StepCache(threshold=0.2))
    run = new_generation(asked, "A car.", card)
    assert run.step_cache == StepCache(threshold=0.2, refresh=5)
    chosen = Settings(seed=7, step_cache=StepCache(refresh=2))
    assert new_generation(chosen, "A car.", card).step_cache == chosen.step_cache
    recipe = edit_recipe(
        edit_generation(Settings(), "A dog.", run, card), Recipe(generation=run), None, card, 8
    )
    assert recipe.generation.step_cache is None


def test_a_step_cache_that_cannot_be_is_refused() -> None:
    asked = Settings(step_cache=StepCache())
    with pytest.raises(Unsupported, match=r"step_cache: model .* leave it out"):
        new_generation(asked, "A car.", CARD)
    card = CARD.model_copy(update={"supports_step_cache": True})
    edit = edit_generation(asked, "A dog.", SOURCE, card)
    asked = Settings(step_cache=StepCache(method="taylorseer"))
    with pytest.raises(Unsupported, match=r"step_cache\.method: model .* allowed is first_block"):
        new_generation(asked, "A car.", card)
    with pytest.raises(ValidationError, match="threshold: method 'taylorseer' has none"):
        StepCache(method="taylorseer", threshold=0.2)
    with pytest.raises(InvalidRequest, match="step_cache: not allowed in an edit"):
        edit_recipe(edit, Recipe(generation=SOURCE), None, card, 8)


def test_a_frame_rate_that_the_model_is_told_is_part_of_the_shot() -> None:
    told = CARD.model_copy(update={"told_fps": True})
    source = new_generation(Settings(seed=7, fps=12), "A car.", told)
    assert source.frame_rate == 12
    assert edit_generation(Settings(), "A bus.", source, told).frame_rate == 12
    with pytest.raises(SourceMismatch) as caught:
        edit_generation(Settings(fps=24), "A bus.", source, told)
    assert caught.value.param == "fps"
    assert new_generation(Settings(fps=12), "A car.", CARD).frame_rate is None


def test_a_negative_prompt_that_is_never_read_is_in_no_key() -> None:
    """Two keys would name one video."""
    words = Settings(negative_prompt="blurry", guidance_scale=1.0, seed=7)
    assert new_generation(words, "A car.", CARD).negative_prompt == ""
    assert (
        new_generation(
            words.model_copy(update={"guidance_scale": 1.5}), "A car.", CARD
        ).negative_prompt
        == "blurry"
    )
    always = CARD.model_copy(update={"always_guided": True})
    assert new_generation(words, "A car.", always).negative_prompt == "blurry"


def test_embedded_guidance_takes_no_negative_prompt() -> None:
    embedded = CARD.model_copy(update={"branches": ("cond",), "negative_prompt": "blurry"})
    assert new_generation(Settings(), "A car.", embedded).negative_prompt == ""
    with pytest.raises(Unsupported, match="negative_prompt: is not allowed"):
        new_generation(Settings(negative_prompt="blurry"), "A car.", embedded)


def test_loras_are_named_never_located() -> None:
    card = CARD.model_copy(update={"loras": ("anime", "noir")})
    one = new_generation(Settings(loras=(("noir", 0.5), ("anime", 1.0))), "A car.", card)
    assert one.loras == (("anime", 1.0), ("noir", 0.5))
    for loras, says in (
        ((("/etc/passwd", 1.0),), "allowed are anime, noir"),
        ((("noir", 1.0), ("noir", 0.5)), "has a name twice"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            new_generation(Settings(loras=loras), "A car.", card)


def test_an_edit_takes_what_it_leaves_open_from_its_source() -> None:
    edit = edit_generation(Settings(guidance_scale=6), "A red car.", SOURCE, CARD)
    assert edit == SOURCE.model_copy(update={"prompt": "A red car.", "guidance_scale": 6})


def test_the_second_experts_guidance_is_in_the_key_only_where_it_changes_the_video() -> None:
    card = CARD.model_copy(update={"supports_guidance_scale_2": True, "guidance_scale_2": 3.0})
    asked = Settings(seed=7, guidance_scale_2=2.0)
    own = new_generation(asked, "A car.", card)
    assert own.guidance_scale_2 == 2.0
    plain = new_generation(Settings(seed=7), "A car.", card)
    assert plain.guidance_scale_2 is None
    same = new_generation(asked.model_copy(update={"guidance_scale_2": 3.0}), "A car.", card)
    keys = [Recipe(generation=each).key("p") for each in (own, plain, same)]
    assert keys[1] == keys[2] != keys[0]
    assert edit_generation(Settings(), "A red car.", own, card).guidance_scale_2 == 2.0
    unguided = asked.model_copy(update={"guidance_scale": 1.0})
    assert new_generation(unguided, "A car.", card).guidance_scale_2 is None
    with pytest.raises(InvalidRequest, match=r"guidance_scale_2: 99 is not .* 0 to 20"):
        new_generation(Settings(guidance_scale_2=99), "A car.", card)
    with pytest.raises(Unsupported, match=r"guidance_scale_2: 2 is not allowed: .* no second"):
        new_generation(asked, "A car.", CARD)


@pytest.mark.parametrize(
    "asked",
    [
        Settings(seed=8),
        Settings(size="64x64"),
        Settings(num_frames=9),
        Settings(seconds="1"),
        Settings(num_inference_steps=5),
    ],
)
def test_an_edit_that_cannot_share_the_shot_is_refused(asked: Settings) -> None:
    with pytest.raises(SourceMismatch, match="differs from the source's"):
        edit_generation(asked, "A red car.", SOURCE, CARD)


def test_a_source_of_another_revision_of_the_model_is_refused() -> None:
    newer = CARD.model_copy(update={"fingerprint": "e" * 64})
    with pytest.raises(SourceMismatch, match=r"^fingerprint"):
        edit_generation(Settings(), "A red car.", SOURCE, newer)


def test_an_edit_of_an_edit_carries_the_whole_chain() -> None:
    recipe = Recipe(generation=SOURCE)
    for prompt in ("A red car.", "A red car in the winter."):
        edit = edit_generation(Settings(), prompt, recipe.generation, CARD)
        recipe = edit_recipe(edit, recipe, None, CARD, max_chain=3)
    assert [link.generation.prompt for link in recipe.chain()] == [
        "A red car in the winter.", "A red car.", "A car.",
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="2 edits deep; allowed are sources"):
        edit_recipe(recipe.generation, recipe, None, CARD, max_chain=3)


def test_equal_transfers_give_equal_keys() -> None:
    whole = (
        TransferSpec(),
        TransferSpec(preset="paper"),
        TransferSpec(layers=(3, 2, 1, 0, 0), steps=StepRange(stop=4), heads=(1, 0)),
    )
    assert {plain_transfer(spec, CARD, SOURCE) for spec in whole} == {TransferSpec()}
    anchored = (
        TransferSpec(preset="auto"),
        TransferSpec(anchor=Anchor(interval=1), steps=(3, 2, 1, 0)),
        TransferSpec(anchor=Anchor(interval=1), branches=("cond",)),
    )
    assert len({plain_transfer(spec, CARD, SOURCE) for spec in anchored}) == 1
    part = plain_transfer(TransferSpec(steps=StepRange(start=1, stop=3)), CARD, SOURCE)
    assert part.steps == (1, 2)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (TransferSpec(layers=(4,)), "transfer.layers: 4 is not one of 0 to 3"),
        (TransferSpec(steps=(9,)), "transfer.steps: 9 is not one of 0 to 3"),
        (TransferSpec(steps=StepRange(start=2, stop=9)), "transfer.steps: 4 is not one of 0 to 3"),
        (TransferSpec(heads=(2,)), "transfer.heads: 2 is not one of 0 to 1"),
    ],
)
def test_unknown_layers_steps_and_heads_are_refused(spec: TransferSpec, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plain_transfer(spec, CARD, SOURCE)
    assert caught.value.message == says


def test_a_model_without_maps_to_transfer_is_refused() -> None:
    linear = CARD.model_copy(update={"supports_transfer": False})
    with pytest.raises(Unsupported):
        plain_transfer(TransferSpec(), linear, SOURCE)
    assert capture_spec(None, SETTINGS, linear, Recipe(generation=SOURCE)) is None


def test_an_edit_is_anchored_unless_it_says_otherwise() -> None:
    source = Recipe(generation=SOURCE)

    def made(transfer: TransferSpec | None) -> TransferSpec | None:
        return edit_recipe(SOURCE, source, transfer, CARD, 8).transfer

    usual = Anchor(interval=1)  # of four steps, four are computed
    assert made(None) == TransferSpec(anchor=usual)
    assert made(TransferSpec(layers=(2,))) == TransferSpec(anchor=usual, layers=(2,))
    assert made(TransferSpec(preset="object")) == TransferSpec(anchor=usual)
    assert made(TransferSpec(anchor=None)) == TransferSpec()
    assert made(TransferSpec(anchor=Anchor(interval=3))) == TransferSpec(anchor=Anchor(interval=3))


def test_capture_by_default_is_hidden_where_that_fits_else_latents() -> None:
    recipe = Recipe(generation=SOURCE)
    fits = capture_spec(None, SETTINGS, CARD, recipe)
    assert fits is not None
    assert (fits.form, fits.ttl_s) == ("hidden", SETTINGS.attention_retention_s)
    tight = SETTINGS.model_copy(update={"capture_max_bytes": 400_000})
    small = capture_spec(True, tight, CARD, recipe)
    assert small is not None
    assert small.form == "latents"
    none = SETTINGS.model_copy(update={"capture_max_bytes": 1})
    assert capture_spec(None, none, CARD, recipe) is None


def test_capture_is_the_callers_to_say() -> None:
    recipe, off = Recipe(generation=SOURCE), SETTINGS.model_copy(update={"default_capture": "off"})
    assert capture_spec(False, SETTINGS, CARD, recipe) is None
    assert capture_spec(None, off, CARD, recipe) is None
    assert capture_spec(True, off, CARD, recipe) is not None
    own = capture_spec(CaptureSpec(form="qk", layers=(3,), ttl_s=60), off, CARD, recipe)
    assert own == CaptureSpec(form="qk", layers=(3,), ttl_s=60)
    with pytest.raises(InvalidRequest, match="max_bytes: 9 is too small"):
        capture_spec(CaptureSpec(form=None, max_bytes=9), off, CARD, recipe)


def test_a_form_chosen_by_budget_keeps_the_spec_valid() -> None:
    asked = CaptureSpec(form=None, max_bytes=400_000, codec="int8")
    chosen = capture_spec(asked, SETTINGS, CARD, Recipe(generation=SOURCE))
    assert chosen is not None
    assert CaptureSpec.model_validate(chosen.model_dump()).codec == "zipnn"
