"""HunyuanVideo 1.5. The guider calls the transformer once for each branch."""

from workers.families.base import Defaults, Pattern, Pipeline
from workers.families.guider import GuiderFamily


class HunyuanVideo15Family(GuiderFamily):
    def prompt_limit(self, pipeline: Pipeline) -> int | None:
        return int(pipeline.tokenizer_max_length)


HUNYUAN_VIDEO15 = HunyuanVideo15Family(
    pipeline="HunyuanVideo15Pipeline",
    name="hunyuan-video-1.5",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn"),),
    own_inputs=("timestep", "timestep_r"),
    templated=True,
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
