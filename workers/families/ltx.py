"""LTX-Video (arXiv 2501.00103). One batch a step; latents are packed to (B, N, C)."""

from workers.families.base import Defaults, Family, Pattern

LTX = Family(
    pipeline="LTXPipeline",
    name="ltx",
    supports_step_cache=True,
    takes_films=True,
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    batched=True,
    branch_order=("uncond", "cond"),
    latent_layout="packed",
    pixel_multiple=32,
    fps_argument="frame_rate",
    defaults=Defaults(
        width=704,
        height=512,
        num_frames=161,
        fps=25,
        num_inference_steps=50,
        guidance_scale=3.0,
        licence="ltx-video-open-weights",
        max_frames=257,
    ),
)
