"""Wan 2.1 and 2.2, image to video (arXiv 2503.20314). Two calls a step; A14B has two experts.

The picture is coded behind the noise, in channels of its own, and Wan 2.1 sees it through CLIP too.
"""

from workers.families.base import Defaults, Family, Pattern

WAN_I2V = Family(
    pipeline="WanImageToVideoPipeline",
    name="wan-i2v",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    cross_attention=r"blocks\.\d+\.attn2",
    supports_fused_qkv=True,
    components=("transformer", "transformer_2"),
    float32_components=("vae", "image_encoder"),
    picture="required",
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
