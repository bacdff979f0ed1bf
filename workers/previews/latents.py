"""Where the film is in a pipeline's latents, and what its VAE would be given of them.

Families lay out their latents differently and scale them in ways of their own; from here on they
are (C, F, H, W) in the VAE's own space.
"""

from torch import Tensor

from workers.families.base import Family, Pipeline
from workers.models.vae_space import LAYOUT_ORDER, scale_of, statistic


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


def vae_latents(pipeline: Pipeline, frame: Tensor, number: int) -> Tensor:
    """``frame`` (C, H, W), the film's ``number``, in the space that the pipeline decodes from.

    What the pipelines share: z = x · std / scale + mean, each where the VAE has it. fp32. Channels
    behind the VAE's own are left out: Kandinsky's picture and mask stand there.
    """
    config = pipeline.vae.config
    frame = frame[: config.get("latent_channels") or config.get("z_dim")]
    mean = statistic(pipeline.vae, "latents_mean", frame, number)
    std = statistic(pipeline.vae, "latents_std", frame, number)
    return frame.float() * std / scale_of(pipeline) + mean
