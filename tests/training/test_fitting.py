"""A drawn object is whole; a torn, a melted and a half-made one are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.drawing.films import draw_films
from training.drawing.fitting import fit_object, is_whole
from training.drawing.scenes import draw_scenes
from training.judge import Judge, judge_films

SEEDS = range(9000, 9004)
FRAMES = (0, 8)


def _films(obj: str) -> Tensor:
    return draw_films(draw_scenes(SEEDS, obj=obj, place="highway")).pixels


def _whole(judge: Judge, films: Tensor, obj: str) -> list[bool]:
    mask = judge_films(judge, films).mask
    found: list[bool] = is_whole(fit_object(films, mask, obj, FRAMES, batch=4)).tolist()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("obj", ["car", "truck", "bus"])
def test_a_drawn_object_is_whole(judge: Judge, obj: str) -> None:
    assert all(_whole(judge, _films(obj), obj))


@pytest.mark.slow
def test_a_car_is_no_whole_truck(judge: Judge) -> None:
    assert not any(_whole(judge, _films("car"), "truck"))
    assert not any(_whole(judge, _films("truck"), "car"))


@pytest.mark.slow
def test_something_between_a_car_and_a_truck_is_neither(judge: Judge) -> None:
    between = (_films("car") + _films("truck")) / 2
    assert not any(_whole(judge, between, "car"))
    assert not any(_whole(judge, between, "truck"))


@pytest.mark.slow
def test_a_torn_car_is_not_whole(judge: Judge) -> None:
    films = _films("car")
    torn = films.clone()
    mask = draw_films(draw_scenes(SEEDS, obj="car", place="highway")).mask
    for index in range(len(films)):
        for frame in FRAMES:
            where = (mask[index, frame] > 0.5).nonzero()
            middle = int(where[:, 1].float().mean())
            # its front half slips down by a third of its height
            torn[index, :, frame, 4:, middle:] = films[index, :, frame, :-4, middle:]
    assert not any(_whole(judge, torn, "car"))


def test_a_film_without_an_object_has_no_whole_one() -> None:
    films, mask = torch.rand(1, 3, 1, 64, 96), torch.zeros(1, 1, 64, 96, dtype=torch.bool)
    fit = fit_object(films, mask, "car", frames=(0,))
    assert fit.outline.item() == 0.0
    assert not is_whole(fit).item()
