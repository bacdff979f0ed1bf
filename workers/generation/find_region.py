"""Regions that the model finds itself: where an edit's velocity differs from its source's.

In the middle of the run the edit's cond branch is run once on the source's own latents, with its
own attention, and what differs from the source's output is parted by Otsu's threshold. The first
step would not do: there latents are noise alone, and show nothing of where things are (figures:
docs/architecture.md). Two prompts on the same noisy picture are DiffEdit's mask
(arXiv 2210.11427), which takes the mean over ten noises; the path to the source is one.
"""

from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from schemas.recipes import Recipe
from schemas.selection import ResolvedTransfer
from workers.attention.transfer import Transfer
from workers.generation.denoise import denoise_to
from workers.generation.mask import mask_name
from workers.generation.region import otsu_threshold
from workers.models.pipelines import LoadedModel
from workers.models.vae_space import film_latents, vae_shape

THRESHOLD = 0.7  # of Otsu's


def find_region(model: LoadedModel, recipe: Recipe, transfer: Transfer) -> float:
    """Put the mask of ``recipe``'s region among the model's pictures, if the run is to find it; the
    passes that it took.

    ``transfer``: what the edit takes of its source. Raises what ``denoise`` does.
    """
    if recipe.region is None or recipe.region.mask is not None:
        return 0.0
    step = found_at(transfer.resolved)
    found: list[Tensor] = []
    survey = replace(
        transfer,
        resolved=_followed_exactly(transfer.resolved, step),
        source=None,
        form="hidden",
        on_difference=found.append,
    )
    plain = recipe.model_copy(update={"region": None})
    passes = denoise_to(model, plain, survey, step)
    model.pictures[mask_name(recipe)] = _pictured(model, recipe, found[0])
    return passes


def found_at(transfer: ResolvedTransfer) -> int:
    """The computed step in the middle of the run."""
    return transfer.computed_steps[len(transfer.computed_steps) // 2]


def _followed_exactly(transfer: ResolvedTransfer, step: int) -> ResolvedTransfer:
    assert transfer.anchor is not None
    anchor = transfer.anchor.model_copy(update={"scale": 0.0, "region": None})
    changes = {"anchor": anchor, "computed_steps": (step,), "layers": (), "steps": ()}
    return transfer.model_copy(update={**changes, "region_layers": (), "heads": None})


def _pictured(model: LoadedModel, recipe: Recipe, difference: Tensor) -> Image.Image:
    """Black and white frames of the video's size, one below another."""
    generation, grid = recipe.generation, model.card.grid
    shape = vae_shape(grid, generation)
    channels = film_latents(model.family, difference, grid.patch, shape)  # (C, f, h, w)
    norms = channels.float().square().sum(0).sqrt()
    threshold = THRESHOLD * otsu_threshold(norms)
    white = (norms > threshold).byte().mul(255).cpu()
    frames = torch.arange(generation.num_frames)
    offset, stride = grid.frames_offset, grid.vae_stride[0]
    numbers = ((frames - offset).div(stride, rounding_mode="floor") + offset).clamp(0, shape[0] - 1)
    pixels = white[numbers]
    for axis, size in ((1, generation.height), (2, generation.width)):
        places = torch.arange(size) * pixels.shape[axis] // size
        pixels = pixels.index_select(axis, places)
    return Image.fromarray(pixels.flatten(0, 1).numpy())
