"""HunyuanVideo (arXiv 2412.03603). Guidance is embedded: one call a step, one branch.

Its first blocks keep text and video in two streams, its later ones join them as [video, text].
"""

from workers.families.base import Defaults, Family, Pattern

HUNYUAN_VIDEO = Family(
    pipeline="HunyuanVideoPipeline",
    name="hunyuan-video",
    supports_step_cache=True,
    takes_films=True,
    attention=(
        Pattern(r"transformer_blocks\.\d+\.attn"),
        Pattern(r"single_transformer_blocks\.\d+\.attn", layout="video_text"),
    ),
    branch_order=("cond",),
    templated=True,
    defaults=Defaults(
        width=1280,
        height=720,
        num_frames=129,
        fps=24,
        num_inference_steps=50,
        guidance_scale=6.0,
        licence="tencent-hunyuan-community",
    ),
)
