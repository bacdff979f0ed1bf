"""Runs of a model, and the previews that they give."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.jobs import JobSpec
from schemas.recipes import Recipe
from tests.workers.bench import generate
from workers.families.pixels import Frames
from workers.generation.denoise import StepInfo
from workers.models.pipelines import LoadedModel
from workers.previews.previewer import Previews


def spec_of(recipe: Recipe, every: int | None) -> JobSpec:
    return JobSpec(
        id="video_00000001",
        project="tests",
        recipe=recipe,
        source_key=recipe.key("tests"),
        created_at=0,
        preview_every=every,
    )


def watched(
    model: LoadedModel, recipe: Recipe, every: int, **options: Any
) -> tuple[Frames, dict[int, bytes]]:
    """The film, and its previews by the number of steps behind them."""
    previewer = Previews().of(model, spec_of(recipe, every))
    assert previewer is not None
    jpegs: dict[int, bytes] = {}

    def after_step(info: StepInfo) -> None:
        jpeg = previewer.after_step(info)
        if jpeg is not None:
            jpegs[info.step + 1] = jpeg

    return generate(model, recipe, on_step=after_step, **options), jpegs


def pixels(jpeg: bytes) -> NDArray[np.float64]:
    """(H, W, 3), 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(jpeg)), np.float64)
