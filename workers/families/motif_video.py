"""Motif-Video. The guider calls the transformer once for each branch.

Two streams first, then blocks over [video, text].
"""

from workers.families.base import Defaults, Pattern
from workers.families.guider import GuiderFamily

MOTIF_VIDEO = GuiderFamily(
    pipeline="MotifVideoPipeline",
    name="motif-video",
    attention=(
        Pattern(r"transformer_blocks\.\d+\.attn"),
        Pattern(r"single_transformer_blocks\.\d+\.attn", layout="video_text"),
    ),
    defaults=Defaults(
        width=1280,
        height=736,
        num_frames=121,
        fps=24,
        num_inference_steps=50,
        guidance_scale=8.0,
    ),
)
