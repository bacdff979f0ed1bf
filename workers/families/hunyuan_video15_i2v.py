"""HunyuanVideo 1.5, image to video: coded behind the noise, and seen through SigLIP.

The guider calls the transformer once for each branch.
"""

from collections.abc import Sequence
from typing import Any

from schemas.recipes import Generation
from workers.families.base import Defaults, Pattern, Pictures, Pipeline
from workers.families.hunyuan_video15 import HunyuanVideo15Family


class HunyuanVideo15I2VFamily(HunyuanVideo15Family):
    """Its pipeline has no arguments for a size: it takes the picture's, rounded to one of a list of
    its own. The picture has the size that was asked for already."""

    def configure(self, pipeline: Pipeline, generation: Generation) -> None:
        super().configure(pipeline, generation)
        pipeline.video_processor.calculate_default_height_width = _as_it_is

    def call_arguments(
        self, rows: Sequence[Generation], pictures: Pictures | None = None
    ) -> dict[str, Any]:
        arguments = super().call_arguments(rows, pictures)
        del arguments["width"], arguments["height"]
        return arguments


def _as_it_is(height: int, width: int, target_size: int) -> tuple[int, int]:
    return height, width


HUNYUAN_VIDEO15_I2V = HunyuanVideo15I2VFamily(
    pipeline="HunyuanVideo15ImageToVideoPipeline",
    name="hunyuan-video-1.5-i2v",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn"),),
    own_inputs=("timestep", "timestep_r"),
    templated=True,
    picture="required",
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
