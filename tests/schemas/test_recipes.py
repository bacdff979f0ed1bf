"""Recipes: their keys never change, and what an edit must share with its source is checked."""

from typing import Any

import pytest

from schemas.attention import Anchor, Region, StepCache, TransferSpec
from schemas.errors import SourceMismatch
from schemas.recipes import SHARED, Generation, Picture, Recipe, check_same_shot, pixels_hash
from tests.schemas.records import EDIT, EDIT_KEY, GENERATION, SOURCE, SOURCE_KEY

OTHER: dict[str, Any] = {
    "model": "other",
    "fingerprint": "f" * 64,
    "prompt": "a truck",
    "negative_prompt": "",
    "seed": 8,
    "width": 64,
    "height": 64,
    "num_frames": 9,
    "num_inference_steps": 4,
    "guidance_scale": 5.0,
    "loras": (("warm", 0.5),),
    "step_cache": StepCache(threshold=0.2, refresh=5),
    "frame_rate": 24,
    "picture": Picture(sha256="a" * 64),
    "guidance_scale_2": 3.0,
}


def test_keys_are_what_they_always_were() -> None:
    """Artifacts are stored under them: another key is a lost artifact."""
    assert SOURCE.key("default") == SOURCE_KEY
    assert EDIT.key("default") == EDIT_KEY


def test_the_key_of_an_anchored_edit_is_older_than_regions() -> None:
    anchored, regional = (
        EDIT.model_copy(update={"transfer": TransferSpec(anchor=anchor)}).key("default")
        for anchor in (Anchor(interval=2), Anchor(interval=2, region=Region()))
    )
    assert anchored == "d2548c5870ef68bea06c5c8951d2aafc14aa8b4d06c9c73663b28155454da178"
    assert regional != anchored


def test_the_key_of_a_first_block_cache_is_older_than_other_methods() -> None:
    first_block, taylorseer = (
        Recipe(generation=SOURCE.generation.model_copy(update={"step_cache": cache})).key("default")
        for cache in (OTHER["step_cache"], StepCache(method="taylorseer", refresh=5))
    )
    assert first_block == "6eca428b3ba872f26c8792b04a9df86bef152b44829b1e591cfdb51f389ea6e2"
    assert taylorseer != first_block


@pytest.mark.parametrize("field", OTHER)
def test_all_that_decides_the_video_is_in_the_key(field: str) -> None:
    other = SOURCE.generation.model_copy(update={field: OTHER[field]})
    assert Recipe(generation=other).key("default") != SOURCE_KEY
    as_source = EDIT.model_copy(update={"source": Recipe(generation=other)})
    assert as_source.key("default") != EDIT_KEY


def test_every_field_but_the_pace_was_tried() -> None:
    assert set(OTHER) == set(Generation.model_fields) - {"fps"}
    paced = Recipe(generation=GENERATION.model_copy(update={"fps": 24}))
    assert paced.key("default") == SOURCE_KEY


def test_a_picture_counts_by_its_content() -> None:
    def key(**picture: Any) -> str:
        changes = {"picture": Picture(**picture)}
        return Recipe(generation=GENERATION.model_copy(update=changes)).key("default")

    assert key(sha256="a" * 64, fit="pad") == key(sha256="a" * 64)
    assert key(sha256="b" * 64) != key(sha256="a" * 64)
    assert pixels_hash(1, 2, b"abcdef") != pixels_hash(2, 1, b"abcdef")


def test_the_pictures_of_a_chain() -> None:
    first, second = (
        GENERATION.model_copy(update={"picture": Picture(sha256=name * 64)}) for name in "ab"
    )
    source = Recipe(generation=first)
    edit = Recipe(generation=second, source=source, transfer=TransferSpec())
    assert (SOURCE.pictures(), source.pictures()) == ([], ["a" * 64])
    assert edit.pictures() == ["b" * 64, "a" * 64]
    again = Recipe(generation=second, source=edit, transfer=TransferSpec())
    assert again.pictures() == ["b" * 64, "a" * 64]


def test_projects_have_keys_of_their_own() -> None:
    assert SOURCE.key("other") != SOURCE_KEY


def test_a_transfer_is_in_the_key() -> None:
    other = EDIT.model_copy(update={"transfer": TransferSpec(layers=(0, 2), strength=0.5)})
    assert other.key("default") != EDIT_KEY


def test_a_chain_goes_back_to_the_first_source() -> None:
    again = Recipe(generation=EDIT.generation, source=EDIT, transfer=TransferSpec())
    assert again.chain() == [again, EDIT, SOURCE]


@pytest.mark.parametrize("field", SHARED)
def test_an_edit_shares_its_shot_with_its_source(field: str) -> None:
    check_same_shot(EDIT.generation, GENERATION)
    edit = EDIT.generation.model_copy(update={field: OTHER[field]})
    asked = "fps" if field == "frame_rate" else field
    with pytest.raises(SourceMismatch, match=asked) as refused:
        check_same_shot(edit, GENERATION)
    assert refused.value.param == asked
    assert repr(OTHER[field]) in refused.value.message
