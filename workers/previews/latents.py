"""Where the film is in a pipeline's latents, and what its VAE would be given of them.

Families lay out their latents differently and scale them in ways of their own; from here on they
are (C, F, H, W) in the VAE's own space.
"""

from typing import Any

import torch
from torch import Tensor

from schemas.models import LatentGrid
from schemas.recipes import Generation
from workers.families.base import Family, Pipeline

_ORDER = {"BCFHW": (0, 1, 2, 3), "BFCHW": (1, 0, 2, 3), "BFHWC": (3, 0, 1, 2)}  # without B


def vae_shape(grid: LatentGrid, generation: Generation) -> tuple[int, int, int]:
    """The VAE's (F, H, W) of a film: tokens are patches of these."""
    return grid.model_copy(update={"patch": (1, 1, 1)}).tokens(
        generation.width, generation.height, generation.num_frames
    )


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
        film = row.permute(_ORDER[family.latent_layout])
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


def vae_latents(pipeline: Pipeline, frame: Tensor, number: int) -> Tensor:
    """``frame`` (C, H, W), the film's ``number``, in the space that the pipeline decodes from.

    What the pipelines share: z = x · std / scale + mean, each where the VAE has it. fp32.
    """
    config = pipeline.vae.config
    mean = _statistic(pipeline.vae, "latents_mean", frame, number)
    std = _statistic(pipeline.vae, "latents_std", frame, number)
    # EDM (Cosmos) scales to the data's deviation in place of the VAE's factor
    scale = pipeline.scheduler.config.get("sigma_data") or config.get("scaling_factor") or 1.0
    return frame.float() * std / scale + mean


def _statistic(vae: Any, name: str, frame: Tensor, number: int) -> Tensor:
    """One value per channel, (C, 1, 1)."""
    value = vae.config.get(name)
    if value is None:
        value = dict(vae.named_buffers(recurse=False)).get(name)  # LTX: with its weights
    if value is None:
        value = [float(name == "latents_std")] * len(frame)
    values = torch.as_tensor(value, dtype=torch.float32, device=frame.device)
    values = values.reshape(len(frame), -1)  # Cosmos has them for each frame too
    return values[:, min(number, values.shape[1] - 1), None, None]
