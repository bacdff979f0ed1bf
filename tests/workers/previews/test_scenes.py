"""Previews of the bundled model, whose VAE is a trained one: they show what the film shows."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests import tiny
from tests.workers.bench import generate
from tests.workers.previews.watched import pixels, spec_of, watched
from workers.models.pipelines import LoadedModel, load_model
from workers.previews.latent_rgb import fit_colours
from workers.previews.previewer import Previews
from workers.settings import BUNDLED

pytestmark = pytest.mark.slow

PROMPT = "A red car is driving on the highway."


@pytest.fixture(scope="module")
def scenes() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(BUNDLED)


def likeness(jpeg: bytes, frames: NDArray[np.uint8]) -> float:
    """The correlation of the preview with the film's middle frames, both as small as latents."""
    middle = frames[5:9].mean(0)  # 17 frames are 1 + 4·4: the third latent frame holds these
    blocks = [
        picture.reshape(8, 8, 12, 8, 3).mean((1, 3)).ravel() for picture in (pixels(jpeg), middle)
    ]
    return float(np.corrcoef(*blocks)[0, 1])


def test_previews_show_the_film_long_before_it_is_done(scenes: LoadedModel) -> None:
    recipe = tiny.recipe(scenes, PROMPT, negative_prompt="", seed=1, num_inference_steps=8)
    frames, jpegs = watched(scenes, recipe, 2)
    assert list(jpegs) == [2, 4, 6, 8]
    alike = likeness(jpegs[8], frames)
    assert alike > 0.9
    assert likeness(jpegs[2], frames) > 0.8, "a quarter of the run done: noisy latents have 0.2"
    other = tiny.recipe(scenes, "A dog is running on the grass.", seed=2, num_inference_steps=2)
    # all have their sky above and their ground below
    assert likeness(jpegs[8], generate(scenes, other)) < alike - 0.1


def test_plain_colours_are_themselves(scenes: LoadedModel) -> None:
    """Duller at most: the map is linear, the VAE is not (docs/experiments/model.md)."""
    colours = fit_colours(scenes.family, scenes.pipeline)
    plain = np.array([[0.8, -0.8, -0.8], [-0.6, 0.4, -0.6], [0.0, 0.0, 0.0], [0.9, 0.9, 0.9]])
    for number, wanted in enumerate(plain):
        film = torch.tensor(wanted).float()[None, :, None, None, None].expand(1, 3, 9, 64, 64)
        with torch.no_grad():
            latents = scenes.pipeline.vae.encode(film).latent_dist.mode()[0]
        seen = colours(latents[:, 1]).mean((0, 1))
        assert np.abs(seen - plain).mean(1).argmin() == number, (wanted, seen)
        assert np.abs(seen - wanted).max() < 0.4, (wanted, seen)


def test_the_fit_leaves_no_trace(scenes: LoadedModel) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpys = repr(np.random.get_state())
    recipe = tiny.recipe(scenes, PROMPT)
    previews = Previews()
    assert previews.of(scenes, spec_of(recipe, None)) is None, "nobody asked"
    assert previews.of(scenes, spec_of(recipe, 1)) is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(np.random.get_state()) == numpys
