"""CogVideoX 1.0 and 1.5 (arXiv 2408.06072). One batch a step.

Joint attention over [text, video].
"""

from workers.families.base import Defaults, Family, Pattern

COGVIDEOX = Family(
    pipeline="CogVideoXPipeline",
    name="cogvideox",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1", layout="text_video"),),
    batched=True,
    branch_order=("uncond", "cond"),
    supports_fused_qkv=True,
    supports_step_cache=True,
    latent_layout="BFCHW",
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
