"""SkyReels-V2's diffusion forcing (arXiv 2504.13074), all frames in step: one pass over the video.

Its staggered mode, where frames are denoised one after the other, and its longer videos piece by
piece are not served: a step would call the transformer for some of the frames. Two calls a step.
"""

from dataclasses import replace

from workers.families.skyreels_v2 import SKYREELS_V2

SKYREELS_V2_DF = replace(
    SKYREELS_V2,
    pipeline="SkyReelsV2DiffusionForcingPipeline",
    name="skyreels-v2-df",
    takes_films=False,
    supports_fused_qkv=True,
    fps_argument="fps",
    max_batch=1,  # diffusers can tell one video its frame rate, not several
)
SKYREELS_V2_DF_I2V = replace(
    SKYREELS_V2_DF,
    pipeline="SkyReelsV2DiffusionForcingImageToVideoPipeline",
    name="skyreels-v2-df-i2v",
    picture="required",
    defaults=replace(SKYREELS_V2_DF.defaults, guidance_scale=5.0),
)
