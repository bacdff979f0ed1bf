"""Model cards: ranges that name the nearest allowed value, and the token grid of a video."""

import pytest
from pydantic import ValidationError

from schemas.errors import InvalidRequest
from schemas.models import IntRange, LatentGrid, ModelCard
from tests.schemas.records import CARD

GRID = LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2))
FRAMES = IntRange(minimum=1, maximum=33, default=17, step=4, offset=1)


@pytest.mark.parametrize("value", [1, 5, 33])
def test_a_value_in_the_range(value: int) -> None:
    assert FRAMES.check(value, "num_frames") == value


@pytest.mark.parametrize(
    ("value", "nearest"), [(16, 17), (0, 1), (-100, 1), (34, 33), (1000, 33), (2, 1), (4, 5)]
)
def test_a_value_out_of_the_range_names_the_nearest(value: int, nearest: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        FRAMES.check(value, "num_frames")
    assert refused.value.message == (
        f"num_frames: {value} is not allowed; allowed is 1 to 33, of the form 4k+1; "
        f"nearest is {nearest}"
    )
    assert refused.value.param == "num_frames"
    assert FRAMES.check(nearest, "num_frames") == nearest


def test_a_range_in_words() -> None:
    assert IntRange(minimum=16, maximum=96, default=32, step=16).describe() == (
        "16 to 96 in multiples of 16"
    )
    assert IntRange(minimum=8, maximum=8, default=8).describe() == "8 alone"


def test_a_range_of_every_number_says_no_form() -> None:
    with pytest.raises(InvalidRequest, match="allowed is 1 to 9; nearest is 9"):
        IntRange(minimum=1, maximum=9, default=5).check(10, "fps")


@pytest.mark.parametrize(
    ("grid", "size", "tokens"),
    [
        (GRID, (832, 480, 81), (21, 30, 52)),
        (GRID.model_copy(update={"patch": (2, 2, 2)}), (832, 480, 81), (11, 30, 52)),
        (GRID.model_copy(update={"frames_offset": 0}), (64, 32, 16), (4, 2, 4)),
    ],
)
def test_the_token_grid(
    grid: LatentGrid, size: tuple[int, int, int], tokens: tuple[int, int, int]
) -> None:
    assert grid.tokens(*size) == tokens


def test_what_a_later_worker_says_beside_is_left_out() -> None:
    assert ModelCard.model_validate(CARD.model_dump() | {"supports_telepathy": True}) == CARD


@pytest.mark.parametrize("name", ["", "/etc", "a" * 65, ".hidden", "a b"])
def test_an_id_is_plain(name: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        ModelCard.model_validate(CARD.model_dump() | {"id": name})
