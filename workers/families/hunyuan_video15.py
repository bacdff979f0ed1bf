"""HunyuanVideo 1.5. The guider calls the transformer once for each branch."""

from workers.families.base import Defaults, GuiderFamily, Pattern

HUNYUAN_VIDEO15 = GuiderFamily(
    pipeline="HunyuanVideo15Pipeline",
    name="hunyuan-video-1.5",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn"),),
    defaults=Defaults(
        width=832,
        height=480,
        num_frames=121,
        fps=24,
        num_inference_steps=50,
        guidance_scale=6.0,
        licence="tencent-hunyuan-community",
    ),
)
