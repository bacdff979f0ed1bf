"""SkyReels-V1 on HunyuanVideo, image to video. Two calls a step.

The picture is coded behind the noise, in channels of its own.
"""

from collections.abc import Sequence
from typing import Any

from schemas.recipes import Generation
from workers.families.base import Defaults, Family, Pattern, Pictures


class HunyuanSkyReelsFamily(Family):
    """Its guidance is a true one, beside the scale that HunyuanVideo is told."""

    def call_arguments(
        self, rows: Sequence[Generation], pictures: Pictures | None = None
    ) -> dict[str, Any]:
        arguments = super().call_arguments(rows, pictures)
        guidance_scale = arguments.pop("guidance_scale")
        return arguments | {"true_cfg_scale": guidance_scale, "guidance_scale": 1.0}


HUNYUAN_SKYREELS_I2V = HunyuanSkyReelsFamily(
    pipeline="HunyuanSkyreelsImageToVideoPipeline",
    name="hunyuan-skyreels-i2v",
    attention=(
        Pattern(r"transformer_blocks\.\d+\.attn"),
        Pattern(r"single_transformer_blocks\.\d+\.attn", layout="video_text"),
    ),
    templated=True,
    max_batch=1,  # it would take one picture a prompt
    picture="required",
    defaults=Defaults(
        width=960,
        height=544,
        num_frames=97,
        fps=24,
        num_inference_steps=50,
        guidance_scale=6.0,
    ),
)
