"""Masks of edits that are kept to a region: in pixels, in latents, and over decoded frames.

A mask says for each pixel how much of the edit is there: (F, H, W) float32, or (1, H, W) for all
frames; 1 all of it, 0 the source alone.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from schemas.base import canonical_hash
from schemas.errors import PictureMissing
from schemas.films.region import EditRegion
from schemas.recipes import Generation, Recipe
from workers.families.pixels import Frames
from workers.models.pipelines import LoadedModel
from workers.models.vae_space import in_layout, vae_shape


def region_mask(model: LoadedModel, recipe: Recipe) -> Tensor | None:
    """The mask of ``recipe``'s own edit; None: it may change anything. Raises PictureMissing."""
    region = recipe.region
    if region is None:
        return None
    name = mask_name(recipe)
    if name not in model.pictures:
        raise PictureMissing("the mask of the edit's region is not stored")
    return grown(_frames_of(model.pictures[name], recipe.generation), region)


def mask_name(recipe: Recipe) -> str:
    """Under which ``model.pictures`` has the mask of ``recipe``'s region: one that a run finds
    itself is known by that run."""
    assert recipe.region is not None
    return recipe.region.mask or canonical_hash(recipe.identity())


def _frames_of(stored: Image.Image, generation: Generation) -> Tensor:
    """0 or 1 for each pixel, of the frames that lie one below another."""
    pixels = torch.from_numpy(np.array(stored.convert("L")))
    return (pixels.view(-1, generation.height, generation.width) >= 128).float()


def grown(mask: Tensor, region: EditRegion) -> Tensor:
    """``mask``, of 0 and 1, widened by ``growth`` pixels in its frames, and falling to 0 over
    ``softness`` (made even) more. It stays 1 where it was."""
    fade = (region.softness + 1) // 2
    wide = [(_window_sums(frame, region.growth + fade) > 0).double() for frame in mask.double()]
    if fade:  # the mean over a window: 1 where all of it is in, 0 where none is
        area = _window_sums(torch.ones_like(wide[0]), fade)
        wide = [_window_sums(frame, fade) / area for frame in wide]
    return torch.stack(wide).float()


def _window_sums(values: Tensor, reach: int) -> Tensor:
    """Of ``values`` (H, W) up to ``reach`` rows and columns away: exact for whole numbers, and as
    quick for a large window as for a small one."""
    for axis in (0, 1):
        places = torch.arange(values.shape[axis])
        until = (places + reach + 1).clamp(max=len(places))
        before = F.pad(values.cumsum(axis), (0, 0, 1, 0) if axis == 0 else (1, 0))
        values = before.index_select(axis, until)
        values = values - before.index_select(axis, (places - reach).clamp(min=0))
    return values


def latent_mask(model: LoadedModel, mask: Tensor, generation: Generation) -> Tensor:
    """The most of ``mask`` that each place of the latents holds, as the pipeline lays them out:
    where it is 0, no pixel is edited."""
    grid, card = model.card.grid, model.card
    frames, height, width = vae_shape(grid, generation)
    whole = mask.expand(generation.num_frames, -1, -1)
    # a causal VAE's first latent frame is of one frame alone
    offset, stride = grid.frames_offset, grid.vae_stride[0]
    starts = [max(0, (number - offset) * stride + offset) for number in range(frames)]
    ends = [*starts[1:], len(whole)]
    coarse = [whole[start:end].amax(0) for start, end in zip(starts, ends, strict=True)]
    placed = F.adaptive_max_pool2d(torch.stack(coarse)[:, None], (height, width))[:, 0]
    channels = card.latent_channels if model.family.latent_layout == "packed" else 1
    return in_layout(model.family, placed.expand(channels, -1, -1, -1), grid.patch)


def put_into(model: LoadedModel, recipe: Recipe, frames: Frames, source: Frames | None) -> Frames:
    """``frames`` as ``recipe``'s region leaves them: outside it they are its ``source``'s."""
    mask = region_mask(model, recipe)
    return frames if mask is None or source is None else composited(frames, source, mask)


def composited(edit: Frames, source: Frames, mask: Tensor) -> Frames:
    """``edit`` where the mask is 1, ``source``'s own pixels where it is 0, (F, H, W, 3) uint8."""
    share = mask.expand(len(edit), -1, -1).numpy()[..., None]
    blend = source + share * (edit.astype(np.float32) - source)
    return np.where(share == 0, source, blend.round()).astype(np.uint8)


def mask_pixels(mask: Tensor) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The mask as grey frames, (F, H, W) or (1, H, W) uint8. What is not black is not 0."""
    return (mask * 255).ceil().byte().numpy()
