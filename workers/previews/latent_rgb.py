"""A linear map from a VAE's latents to RGB, fitted once per model with the VAE's own encoder.

One latent position is about the mean colour of the pixels that it codes. What is finer than that
needs the decoder, which costs as much as many steps. The fit takes seconds at most, and draws from
no random state of the process.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.models import LatentGrid
from workers.families.base import Family, Pipeline
from workers.models.vae_space import encode_video

Floats = NDArray[np.float64]
_SAMPLES = 2048  # latent positions to fit on: several times the channels of any family
_CLIPS = (4, 24)  # at least, at most
_GROUPS = 2  # latent frames of a clip, beside a causal VAE's own first one
_POSITIONS = 4  # of a clip's side, at least
_LEAST_SIDE = 64  # pixels: smaller than that, padding is most of what a VAE sees
_RECTANGLES = 12
_RIDGE = 0.03  # of the latents' mean variance: channels that tell no colour stay out of it


class LatentRgb(NamedTuple):
    """RGB in [-1, 1] is ``latents`` · ``weights`` + ``bias``: (C, 3) and (3,)."""

    weights: Floats
    bias: Floats

    def __call__(self, latents: Tensor) -> Floats:
        """(C, H, W) in the VAE's space as (H, W, 3)."""
        values = latents.double().cpu().numpy()
        return np.tensordot(values, self.weights, (0, 0)) + self.bias


def fit_colours(family: Family, pipeline: Pipeline) -> LatentRgb:
    """The map of the model's VAE. It is called between runs: it may move an offloaded VAE.

    Raises what the VAE raises, and ValueError where it codes in other strides than the family says.
    """
    grid = family.grid(pipeline)
    shape = _clip_shape(grid, pipeline.vae)
    positions = shape[1] * shape[2] // (grid.vae_stride[1] * grid.vae_stride[2])
    clips = _SAMPLES // (positions * (_GROUPS + grid.frames_offset))
    try:
        pairs = [
            _pair(pipeline, grid, _clip(number, shape))
            for number in range(min(max(clips, _CLIPS[0]), _CLIPS[1]))
        ]
    finally:
        pipeline.maybe_free_model_hooks()
    latents = np.concatenate([pair[0] for pair in pairs])
    colours = np.concatenate([pair[1] for pair in pairs])
    return _solve(latents, colours)


def _solve(latents: Floats, colours: Floats) -> LatentRgb:
    """Ridge regression of ``colours`` (N, 3) on ``latents`` (N, C)."""
    latents_mean, colours_mean = latents.mean(0), colours.mean(0)
    centred = latents - latents_mean
    ridge = _RIDGE * np.square(centred).sum() / centred.shape[1]
    square = centred.T @ centred + (ridge + np.finfo(float).tiny) * np.eye(centred.shape[1])
    weights = np.linalg.solve(square, centred.T @ (colours - colours_mean))
    return LatentRgb(weights, colours_mean - latents_mean @ weights)


def _clip_shape(grid: LatentGrid, vae: Any) -> tuple[int, int, int]:
    """Frames, height and width of a clip, in pixels."""
    tile = getattr(vae, "kernel", None)
    if tile is not None:  # Allegro's codes whole tiles only
        return tuple(tile)
    time, high, wide = grid.vae_stride
    return (
        grid.frames_offset + _GROUPS * time,
        high * max(_POSITIONS, -(-_LEAST_SIDE // high)),
        wide * max(_POSITIONS, -(-_LEAST_SIDE // wide)),
    )


def _clip(number: int, shape: tuple[int, int, int]) -> Floats:
    """A still (F, H, W, 3) in [-1, 1]: rectangles of one colour over a gradient.

    On models/scenes moving clips gave no better map, and smooth ones without edges a worse one.
    """
    random = np.random.default_rng(number)
    sides = shape[1:]
    corners = random.uniform(-1, 1, (2, 2, 3))
    down, across = (np.linspace(0, 1, side)[:, None] for side in sides)
    left, right = (corners[0, x] * (1 - down) + corners[1, x] * down for x in (0, 1))  # (H, 3)
    picture = left[:, None] * (1 - across) + right[:, None] * across
    for _ in range(_RECTANGLES):
        start = random.uniform(-0.2, 0.9, 2)
        low = np.maximum(start, 0) * sides
        high = np.maximum(start + random.uniform(0.1, 0.5, 2), 0) * sides
        rows, columns = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        picture[rows, columns] = random.uniform(-1, 1, 3)
    return np.repeat(picture[None], shape[0], axis=0)


def _pair(pipeline: Pipeline, grid: LatentGrid, clip: Floats) -> tuple[Floats, Floats]:
    """The latents (N, C) of a clip, and the mean colours (N, 3) of the pixels that each codes."""
    colours = _means(clip, grid)
    film = torch.from_numpy(clip).movedim(-1, 0)[None]  # (1, 3, F, H, W)
    film = film.to(pipeline._execution_device, pipeline.vae.dtype)
    latents = encode_video(pipeline.vae, film)[0].double().cpu().movedim(0, -1).numpy()
    if latents.shape[:3] != colours.shape[:3]:
        raise ValueError(f"a clip of {clip.shape} became latents {latents.shape}")
    return latents.reshape(-1, latents.shape[-1]), colours.reshape(-1, 3)


def _means(clip: Floats, grid: LatentGrid) -> Floats:
    """Mean colours (f, h, w, 3) over the pixels behind each latent position."""
    time, high, wide = grid.vae_stride
    groups = [clip[:1]] if grid.frames_offset else []
    groups += np.split(clip[grid.frames_offset :], (len(clip) - grid.frames_offset) // time)
    frames = np.stack([group.mean(0) for group in groups])
    height, width = frames.shape[1] // high, frames.shape[2] // wide
    means: Floats = frames.reshape(len(frames), height, high, width, wide, 3).mean((2, 4))
    return means
