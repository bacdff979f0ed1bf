"""CogVideoX 1.0 and 1.5, image to video (arXiv 2408.06072). One batch a step.

The picture is coded behind the noise, in channels of its own.
"""

from workers.families.base import Defaults, Pattern
from workers.families.cogvideox import CogVideoXFamily

COGVIDEOX_I2V = CogVideoXFamily(
    pipeline="CogVideoXImageToVideoPipeline",
    name="cogvideox-i2v",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1", layout="text_video"),),
    batched=True,
    branch_order=("uncond", "cond"),
    own_inputs=("timestep", "ofs"),
    supports_fused_qkv=True,
    latent_layout="BFCHW",
    pixel_multiple=8,
    max_batch=1,  # it would take one picture a prompt
    picture="required",
    defaults=Defaults(
        width=720,
        height=480,
        num_frames=49,
        fps=8,
        num_inference_steps=50,
        guidance_scale=6.0,
        licence="cogvideox",
    ),
)
