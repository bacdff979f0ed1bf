"""SkyReels-V2 (arXiv 2504.13074), the full-sequence pipeline. Two calls a step."""

from workers.families.base import Defaults, Family, Pattern

SKYREELS_V2 = Family(
    pipeline="SkyReelsV2Pipeline",
    name="skyreels-v2",
    takes_films=True,
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    cross_attention=r"blocks\.\d+\.attn2",
    supports_fused_qkv=True,
    float32_components=("vae",),
    defaults=Defaults(
        width=960,
        height=544,
        num_frames=97,
        fps=24,
        num_inference_steps=50,
        guidance_scale=6.0,
        licence="skywork-community",
    ),
)
