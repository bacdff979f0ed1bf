"""Pictures of maps: one id for each, and only of maps that the run has."""

import pytest
from pydantic import ValidationError

from schemas.errors import InvalidRequest, Unsupported
from schemas.maps import MAX_BINS, Look, MapView, Place, check_place, map_id, maps_folder
from tests.schemas.records import CARD, GENERATION, HIDDEN_KEY, SOURCE_KEY

LOOK = Look(artifact_id=f"attn_{SOURCE_KEY}_{HIDDEN_KEY}", view=MapView(layer=1, head=1, bins=64))


def test_an_id_is_what_it_always_was() -> None:
    """Pictures are stored under it."""
    assert map_id("default", LOOK) == "map_df6d48372c332a821f1f698aef671985"


def test_a_view_is_one_place() -> None:
    assert MapView(step=2, branch="uncond", layer=1, head=0).place == Place(2, "uncond", 1, 0)
    assert maps_folder("default", "attn_x") == "maps/default/attn_x"


@pytest.mark.parametrize("value", [{"bins": 0}, {"bins": MAX_BINS + 1}, {"step": -1}, {"row": 1}])
def test_a_view_that_is_none(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MapView.model_validate(value)


@pytest.mark.parametrize(
    ("place", "match"),
    [
        (Place(3, "cond", 0, 0), "step: 3 is not one of 0 to 2"),
        (Place(0, "cond", 3, 0), "layer: 3 is not one of 0 to 2"),
        (Place(0, "cond", 0, 2), "head: 2 is not one of 0 to 1"),
    ],
)
def test_a_map_that_the_run_has_not(place: Place, match: str) -> None:
    check_place(Place(2, "uncond", 2, 1), CARD, GENERATION)
    with pytest.raises(InvalidRequest, match=match):
        check_place(place, CARD, GENERATION)


def test_without_guidance_there_is_one_branch() -> None:
    unguided = GENERATION.model_copy(update={"guidance_scale": 1.0})
    with pytest.raises(InvalidRequest, match=r"branch: 'uncond' .* allowed is cond"):
        check_place(Place(0, "uncond", 0, 0), CARD, unguided)


def test_a_model_without_softmax_attention_has_no_maps() -> None:
    card = CARD.model_copy(update={"supports_transfer": False})
    with pytest.raises(Unsupported, match="no softmax attention map"):
        check_place(Place(0, "cond", 0, 0), card, GENERATION)
