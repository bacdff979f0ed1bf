"""Wan 2.1 and 2.2, text to video (arXiv 2503.20314). Two calls a step; A14B has two experts."""

from workers.families.base import Defaults, Family, Pattern

WAN = Family(
    pipeline="WanPipeline",
    name="wan",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    cross_attention=r"blocks\.\d+\.attn2",
    takes_films=True,
    supports_fused_qkv=True,
    supports_context_parallel=True,
    supports_step_cache=True,
    components=("transformer", "transformer_2"),
    float32_components=("vae",),
    defaults=Defaults(
        width=832,
        height=480,
        num_frames=81,
        fps=16,
        num_inference_steps=50,
        guidance_scale=5.0,
        licence="apache-2.0",
    ),
)
