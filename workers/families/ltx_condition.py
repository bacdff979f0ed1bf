"""LTX-Video from 0.9.5 on: from text alone, or from a picture in place of the first latent frame.

The picture's latents get new noise with every step, out of the request's seed.
"""

from dataclasses import replace

from workers.families.ltx import LTX

LTX_CONDITION = replace(
    LTX,
    pipeline="LTXConditionPipeline",
    name="ltx-condition",
    supports_step_cache=False,
    takes_films=False,
    own_inputs=("timestep", "video_coords"),
    max_batch=1,  # its VAE's noise would be that of the batch's first seed
    picture="optional",
)
