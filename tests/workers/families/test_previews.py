"""Previews of every family: shaped as the film, of what the VAE decodes, in nobody's way."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from schemas.recipes import Recipe
from tests.workers.bench import generate
from tests.workers.families.cases import Case, Runs
from tests.workers.previews.watched import spec_of
from workers.families.pixels import Frames
from workers.generation.denoise import StepInfo
from workers.models.vae_space import film_latents, vae_shape
from workers.previews.latents import vae_latents
from workers.previews.previewer import Previews


@dataclass
class RecomputedLayer:
    """A run with previews behind both of its steps, and the same run without."""

    runs: Runs
    recipe: Recipe
    plain: Frames | None = None
    plain_latents: list[Tensor] = field(default_factory=list)
    frames: Frames | None = None
    jpegs: list[bytes] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    decoded: list[Tensor] = field(default_factory=list)


@pytest.fixture(scope="module")
def shown(runs: Runs) -> RecomputedLayer:
    model, case = runs.model, runs.case
    assert case is not None
    recipe = runs.recipe("a car", width=case.size * 2)
    seen = RecomputedLayer(runs, recipe)
    seen.plain = generate(
        model, recipe, on_step=lambda info: seen.plain_latents.append(info.latents.clone())
    )
    previewer = Previews().of(model, spec_of(recipe, 1))
    assert previewer is not None
    vae = model.pipeline.vae
    decode = vae.decode

    def noted(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.decoded.append(latents.clone())
        return decode(latents, *args, **kwargs)

    def after_step(info: StepInfo) -> None:
        seen.latents.append(info.latents.clone())
        jpeg = previewer.after_step(info)
        assert jpeg is not None
        seen.jpegs.append(jpeg)

    vae.decode = noted
    try:
        seen.frames = generate(model, recipe, on_step=after_step)
    finally:
        del vae.decode
    return seen


def test_a_preview_is_shaped_as_the_film(shown: RecomputedLayer, case: Case) -> None:
    assert shown.runs.model.card.supports_preview
    assert len(shown.jpegs) == 2
    for jpeg in shown.jpegs:
        picture = Image.open(io.BytesIO(jpeg))
        assert (picture.format, picture.size) == ("JPEG", (2 * case.size, case.size))


def test_the_film_is_the_same_with_previews(shown: RecomputedLayer) -> None:
    assert shown.frames is not None
    assert shown.plain is not None
    assert np.array_equal(shown.frames, shown.plain)
    assert len(shown.latents) == 2
    assert all(map(torch.equal, shown.latents, shown.plain_latents))


def test_what_is_shown_is_what_the_vae_decodes(shown: RecomputedLayer, case: Case) -> None:
    """Layout, padding and scale: the last latents, read as previews read them."""
    model = shown.runs.model
    shape = vae_shape(model.card.grid, shown.recipe.generation)
    film = film_latents(model.family, shown.latents[-1], model.card.grid.patch, shape)
    frames = [vae_latents(model.pipeline, film[:, n], n) for n in range(shape[0])]
    read = torch.stack(frames, 1)
    decoded = torch.cat(shown.decoded)
    decoded = decoded.movedim(1, 0) if decoded.ndim == 4 else decoded[-1]  # pictures: (F, C, H, W)
    torch.testing.assert_close(read[:, case.given :], decoded.float()[:, case.given :])
