"""A pipeline's latents and its VAE's: the layout, the scale, and what the VAE makes of a video.

Families lay out their latents differently and scale them in ways of their own.
"""

from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL
from torch import Tensor

from schemas.models import LatentGrid
from schemas.recipes import Generation
from workers.families.base import Family, Pipeline

_STATISTICS = ("latents_mean", "latents_std")
# how (C, F, H, W) is made of a row of latents
LAYOUT_ORDER = {"BCFHW": (0, 1, 2, 3), "BFCHW": (1, 0, 2, 3), "BFHWC": (3, 0, 1, 2)}


def vae_shape(grid: LatentGrid, generation: Generation) -> tuple[int, int, int]:
    """The VAE's (F, H, W) of a film: tokens are patches of these."""
    return grid.model_copy(update={"patch": (1, 1, 1)}).tokens(
        generation.width, generation.height, generation.num_frames
    )


def pipeline_latents(
    family: Family, pipeline: Pipeline, coded: Tensor, patch: tuple[int, int, int]
) -> Tensor:
    """(1, …) float32, in the pipeline's layout and scale, of the VAE's ``coded`` (1, C, F, H, W).

    Raises ValueError where the family's layout is not known.
    """
    first = coded[0].float()
    mean, std = (statistic(pipeline.vae, name, first[:, 0], 0) for name in _STATISTICS)
    return in_layout(family, (first - mean[:, None]) * scale_of(pipeline) / std[:, None], patch)


def in_layout(family: Family, latents: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """``latents`` (C, F, H, W) as a row of the pipeline's: (1, …). Raises ValueError where the
    family's layout is not known."""
    if family.latent_layout == "packed":
        return _packed(latents, patch)[None]
    if family.latent_layout is None:
        raise ValueError(f"the layout of {family.name}'s latents is not known")
    order = LAYOUT_ORDER[family.latent_layout]
    return latents.permute([order.index(axis) for axis in range(4)])[None].contiguous()


def _packed(film: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """(C, F, H, W) as (N, C·f·h·w): each token is one patch of f·h·w, channels first."""
    sides = [
        part
        for side, size in zip(film.shape[1:], patch, strict=True)
        for part in (side // size, size)
    ]
    tokens = film.reshape(-1, *sides)  # (C, F/f, f, H/h, h, W/w, w)
    return tokens.permute(1, 3, 5, 0, 2, 4, 6).flatten(3).flatten(0, 2)


def film_latents(
    family: Family, latents: Tensor, patch: tuple[int, int, int], shape: tuple[int, int, int]
) -> Tensor:
    """The last row of ``latents`` as (C, F, H, W), a view where that can be.

    ``shape``: (F, H, W) of the film. Raises ValueError where the latents are not of that shape.
    """
    row = latents[-1]
    if family.latent_layout == "packed":
        film = _unpack(row, patch, shape)
    elif family.latent_layout is not None:
        film = row.permute(LAYOUT_ORDER[family.latent_layout])
    else:
        raise ValueError(f"the layout of {family.name}'s latents is not known")
    film = film[:, -shape[0] :]  # CogVideoX 1.5 pads to whole patches, in front
    if tuple(film.shape[1:]) != shape:
        raise ValueError(f"latents {tuple(latents.shape)} are not a film of {shape}")
    return film


def _unpack(row: Tensor, patch: tuple[int, int, int], shape: tuple[int, int, int]) -> Tensor:
    """(N, C·f·h·w) as (C, F, H, W): each token is one patch of f·h·w, channels first."""
    counts = [side // size for side, size in zip(shape, patch, strict=True)]
    tokens = row.reshape(*counts, -1, *patch)  # (F/f, H/h, W/w, C, f, h, w)
    return tokens.permute(3, 0, 4, 1, 5, 2, 6).reshape(-1, *shape)


def scale_of(pipeline: Pipeline) -> float:
    """By which the VAE's latents are multiplied for the transformer, beside their deviation."""
    # EDM (Cosmos) scales to the data's deviation in place of the VAE's factor
    factor = pipeline.scheduler.config.get("sigma_data")
    return float(factor or pipeline.vae.config.get("scaling_factor") or 1.0)


def statistic(vae: Any, name: str, frame: Tensor, number: int) -> Tensor:
    """One value per channel, (C, 1, 1)."""
    value = vae.config.get(name)
    if value is None:
        value = dict(vae.named_buffers(recurse=False)).get(name)  # LTX: with its weights
    if value is None:
        value = [float(name == "latents_std")] * len(frame)
    values = torch.as_tensor(value, dtype=torch.float32, device=frame.device)
    values = values.reshape(len(frame), -1)  # Cosmos has them for each frame too
    return values[:, min(number, values.shape[1] - 1), None, None]


@torch.no_grad()
def encode_video(vae: Any, film: Tensor) -> Tensor:
    """The latents (1, C, f, h, w) of ``film``; the mode, where the VAE gives a distribution."""
    pictures = isinstance(vae, AutoencoderKL | AutoencoderDC)  # of pictures, not of films
    coded = vae.encode(film[0].movedim(1, 0) if pictures else film)
    if hasattr(coded, "latent_dist"):
        latents: Tensor = coded.latent_dist.mode()
    else:
        latents = coded.latent
    return latents.movedim(0, 1)[None] if pictures else latents
