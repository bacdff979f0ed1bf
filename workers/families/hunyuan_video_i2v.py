"""HunyuanVideo, image to video (arXiv 2412.03603). Guidance is embedded: one call a step.

The picture is the first latent frame, and is seen by the text encoder.
"""

from workers.families.base import Defaults, Family, Pattern, Pipeline

BEHIND_A_PROMPT = 5  # tokens of the template: the assistant's header


class HunyuanVideoI2VFamily(Family):
    def check(self, pipeline: Pipeline) -> None:
        if self.config(pipeline).image_condition_type != "token_replace":
            raise ValueError(
                "HunyuanVideo-I2V-33ch is not served: it makes four frames more than a video has "
                "and cuts them off; HunyuanVideo-I2V (token_replace) is"
            )

    def prompt_limit(self, pipeline: Pipeline) -> int | None:
        limit = super().prompt_limit(pipeline)
        return limit and limit - BEHIND_A_PROMPT


HUNYUAN_VIDEO_I2V = HunyuanVideoI2VFamily(
    pipeline="HunyuanVideoImageToVideoPipeline",
    name="hunyuan-video-i2v",
    attention=(
        Pattern(r"transformer_blocks\.\d+\.attn"),
        Pattern(r"single_transformer_blocks\.\d+\.attn", layout="video_text"),
    ),
    branch_order=("cond",),
    templated=True,
    max_batch=1,  # its text encoder is given one picture
    picture="required",
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
