"""Regions that the model finds itself: where an edit would change its source, or a word is shown.

For `auto`, in the middle of the run the edit's cond branch is run once on the source's own latents,
with its own attention, and what differs from the source's output is parted by Otsu's threshold. The
first step would not do: there latents are noise alone, and show nothing of where things are
(figures: docs/architecture.md). Two prompts on the same noisy picture are DiffEdit's mask
(arXiv 2210.11427), which takes the mean over ten noises; the path to the source is one.

For a word the source's cond branch is run there once more, and Otsu's threshold parts how much each
place looks at that word of the source's prompt (``workers.generation.word_attention``).
"""

from contextlib import AbstractContextManager, nullcontext
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
from workers.generation.word_attention import watched_word
from workers.models.pipelines import LoadedModel
from workers.models.vae_space import film_latents, vae_shape
from workers.models.word_tokens import word_tokens

THRESHOLD = 0.7  # of Otsu's
WORD_THRESHOLD = 0.5


def find_region(model: LoadedModel, recipe: Recipe, transfer: Transfer) -> float:
    """Put the mask of ``recipe``'s region among the model's pictures, if the run is to find it; the
    passes that it took.

    ``transfer``: what the edit takes of its source. Raises what ``denoise`` does.
    """
    if recipe.region is None or recipe.region.mask is not None:
        return 0.0
    word, step = recipe.region.word, found_at(transfer.resolved)
    differences: list[Tensor] = []
    looks: list[Tensor] = []
    survey = replace(
        transfer,
        resolved=_followed_exactly(transfer.resolved, step),
        source=None,
        form="hidden",
        on_difference=differences.append,
    )
    with nullcontext() if word is None else _watched(model, recipe, word, looks):
        passes = denoise_to(model, _surveyed(recipe), survey, step)
    if word is None:
        mask = _parted(_norms(model, recipe, differences[0]), THRESHOLD)
    else:
        mask = _parted(_looked_at(model, recipe, looks), WORD_THRESHOLD)
    model.pictures[mask_name(recipe)] = _pictured(model, recipe, mask)
    return passes


def found_at(transfer: ResolvedTransfer) -> int:
    """The computed step in the middle of the run."""
    return transfer.computed_steps[len(transfer.computed_steps) // 2]


def _followed_exactly(transfer: ResolvedTransfer, step: int) -> ResolvedTransfer:
    assert transfer.anchor is not None
    anchor = transfer.anchor.model_copy(update={"scale": 0.0, "region": None})
    changes = {"anchor": anchor, "computed_steps": (step,), "layers": (), "steps": ()}
    return transfer.model_copy(update={**changes, "region_layers": (), "heads": None})


def _surveyed(recipe: Recipe) -> Recipe:
    """What is run to find a region: the edit's prompt, or for a word its source's."""
    assert recipe.region is not None
    plain = recipe.model_copy(update={"region": None})
    if recipe.region.word is None:
        return plain
    assert recipe.source is not None
    source = recipe.source.generation
    changes = {"prompt": source.prompt, "picture": source.picture}
    generation = recipe.generation.model_copy(update=changes)
    return plain.model_copy(update={"generation": generation})


def _watched(
    model: LoadedModel, recipe: Recipe, word: str, looks: list[Tensor]
) -> AbstractContextManager[None]:
    assert recipe.source is not None
    prompt = recipe.source.generation.prompt
    tokens = word_tokens(model.pipeline, model.family, prompt, word)
    return watched_word(model.family, model.hooks.transformers, tokens, looks.append)


def _looked_at(model: LoadedModel, recipe: Recipe, looks: list[Tensor]) -> Tensor:
    """The mean of what each layer gave, (f, h, w) of the latents."""
    generation, grid = recipe.generation, model.card.grid
    tokens = grid.tokens(generation.width, generation.height, generation.num_frames)
    heat = torch.stack(looks).mean(0).view(tokens)
    for axis, side in enumerate(grid.patch):
        heat = heat.repeat_interleave(side, axis)
    return heat


def _norms(model: LoadedModel, recipe: Recipe, difference: Tensor) -> Tensor:
    """Of the ``difference`` at each place of the latents, (f, h, w)."""
    grid = model.card.grid
    shape = vae_shape(grid, recipe.generation)
    channels = film_latents(model.family, difference, grid.patch, shape)  # (C, f, h, w)
    return channels.float().square().sum(0).sqrt()


def _parted(values: Tensor, share: float) -> Tensor:
    """Where ``values`` are above that share of Otsu's threshold."""
    return values > share * otsu_threshold(values)


def _pictured(model: LoadedModel, recipe: Recipe, mask: Tensor) -> Image.Image:
    """``mask`` (f, h, w) as black and white frames of the video's size, one below another."""
    generation, grid = recipe.generation, model.card.grid
    frames = torch.arange(generation.num_frames)
    offset, stride = grid.frames_offset, grid.vae_stride[0]
    numbers = (frames - offset).div(stride, rounding_mode="floor") + offset
    pixels = mask.byte().mul(255).cpu()[numbers.clamp(0, len(mask) - 1)]
    for axis, size in ((1, generation.height), (2, generation.width)):
        places = torch.arange(size) * pixels.shape[axis] // size
        pixels = pixels.index_select(axis, places)
    return Image.fromarray(pixels.flatten(0, 1).numpy())
