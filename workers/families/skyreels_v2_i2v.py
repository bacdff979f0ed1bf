"""SkyReels-V2 (arXiv 2504.13074), image to video, the full-sequence pipeline. Two calls a step."""

from workers.families.base import Defaults, Family, Pattern

SKYREELS_V2_I2V = Family(
    pipeline="SkyReelsV2ImageToVideoPipeline",
    name="skyreels-v2-i2v",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    cross_attention=r"blocks\.\d+\.attn2",
    supports_fused_qkv=True,
    float32_components=("vae", "image_encoder"),
    picture="required",
    defaults=Defaults(
        width=960,
        height=544,
        num_frames=97,
        fps=24,
        num_inference_steps=50,
        guidance_scale=5.0,
        licence="skywork-community",
    ),
)
