"""CogVideoX 1.0 and 1.5 (arXiv 2408.06072). One batch a step.

Joint attention over [text, video].
"""

from workers.attention.sites import Pattern
from workers.families.base import Defaults, Family

COGVIDEOX = Family(
    pipeline="CogVideoXPipeline",
    name="cogvideox",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1", layout="text_video"),),
    batched=True,
    order=("uncond", "cond"),
    fuses=True,
    latents="BFCHW",
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
