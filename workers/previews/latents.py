"""Where the film is in a pipeline's latents, and what its VAE would be given of them.

Families lay out their latents differently and scale them in ways of their own; from here on they
are (C, F, H, W) in the VAE's own space.
"""

from torch import Tensor

from workers.families.base import Pipeline
from workers.models.vae_space import scale_of, statistic


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
