"""Films and captions are functions of the seed, and the ground truth is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.drawing.captions import caption, vocabulary
from training.drawing.films import PAINT, draw_films, draw_still
from training.drawing.scenes import COLOURS, OBJECTS, SEASONS, draw_scenes, uniforms


def test_a_film_is_a_function_of_its_seed_alone() -> None:
    alone = draw_films(draw_scenes([7]))
    among = draw_films(draw_scenes([3, 7, 11]))
    assert torch.equal(alone.pixels[0], among.pixels[1])
    assert torch.equal(alone.mask[0], among.mask[1])
    assert not torch.equal(among.pixels[0], among.pixels[1])


def test_seeds_give_the_same_numbers_on_every_machine() -> None:
    # splitmix64's known answer: the first output of state 0 is 0xE220A8397B1DCDAF
    assert uniforms([0])[0, 0] == (0xE220A8397B1DCDAF >> 11) * 2.0**-53
    values = uniforms(range(500))
    assert abs(values.mean() - 0.5) < 0.01
    assert np.abs(np.corrcoef(values, rowvar=False) - np.eye(values.shape[1])).max() < 0.25


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds must be >= 0"):
        draw_scenes([-1])


def test_the_mask_is_where_the_object_was_painted() -> None:
    scenes = draw_scenes(range(40, 50))
    films = draw_films(scenes)
    changed = (films.pixels - draw_still(scenes).unsqueeze(2)).abs().amax(1) > 1e-6
    assert not (changed & (films.mask == 0)).any()
    inside = changed & (films.mask > 0.99)
    assert inside.sum() > 0.97 * (films.mask > 0.99).sum()
    area = (films.mask > 0.5).float().mean((1, 2, 3))
    assert area.min() > 0.03, "objects are large"


def test_the_object_has_the_colour_that_the_scene_says() -> None:
    for name in ("red", "blue", "yellow"):
        scenes = draw_scenes(range(4), obj="car", colour=name, season="day")
        films = draw_films(scenes)
        pixels = films.pixels.permute(0, 2, 3, 4, 1)[films.mask > 0.99]
        near = (pixels - pixels.new_tensor(PAINT[name])).abs().amax(1) < 0.02
        assert near.float().mean() > 0.2
    assert scenes.colour.tolist() == [COLOURS.index("yellow")] * 4


def test_objects_move_smoothly_in_their_direction() -> None:
    scenes = draw_scenes(range(20))
    mask = draw_films(scenes).mask
    columns = torch.arange(mask.size(3)).float()
    centre = (mask.sum(2) * columns).sum(2) / mask.sum((2, 3))  # (B, T)
    steps = centre.diff(dim=1) * torch.as_tensor(scenes.direction)[:, None]
    assert (steps.mean(1) > 0.4).all()
    assert steps.abs().max() < 5


def test_captions_name_only_what_is_there_and_often_leave_it_out() -> None:
    scenes = draw_scenes(range(2000))
    texts = [caption(scenes, i).lower() for i in range(len(scenes))]
    named = 0
    for index, text in enumerate(texts):
        words = text.replace(".", "").replace(",", "").split()
        assert OBJECTS[scenes.obj[index]] in words
        assert sum(word in OBJECTS for word in words) == 1
        colours = [word for word in words if word in COLOURS]
        assert colours in ([], [COLOURS[scenes.colour[index]]])
        named += bool(colours)
        if "night" in words or "dark" in words:
            assert SEASONS[scenes.season[index]] == "night"
        if "winter" in words or "snow" in words:
            assert SEASONS[scenes.season[index]] == "winter"
    assert 0.4 < named / len(texts) < 0.6
    assert len(set(texts)) > 700


def test_the_papers_prompts_are_among_the_captions() -> None:
    scenes = draw_scenes(range(20000))
    texts = {caption(scenes, i) for i in range(len(scenes))}
    for prompt in (
        "A car is driving on the highway.",
        "A red car is driving on the highway.",
        "A car is driving on the highway in the winter.",
        "A car is driving on the highway at night.",
        "A truck is driving on the highway.",
        "A dog is running on the grass.",
    ):
        assert prompt in texts
        assert set(prompt.lower().rstrip(".").split()) <= set(vocabulary())
