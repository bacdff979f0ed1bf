"""Latte (arXiv 2401.03048). Blocks over space and over time take turns, one batch a step."""

from workers.families.base import Defaults, Family, Pattern, Pipeline


class LatteFamily(Family):
    """Its embedding of time is as long as the videos that it was trained on."""

    def fixed_num_frames(self, pipeline: Pipeline) -> int | None:
        return int(pipeline.transformer.config.video_length)

    def prompt_limit(self, pipeline: Pipeline) -> int | None:
        return 120  # a number in its code


LATTE = LatteFamily(
    pipeline="LattePipeline",
    name="latte",
    attention=(
        Pattern(r"transformer_blocks\.\d+\.attn1"),
        Pattern(r"temporal_transformer_blocks\.\d+\.attn1"),
    ),
    interleaved=True,
    batched=True,
    lowercases=True,
    branch_order=("uncond", "cond"),
    max_batch=1,  # it cuts a lone prompt to its length, but pads several
    frames_argument="video_length",
    arguments={"clean_caption": False},  # it would need another package, and change the prompt
    pixel_multiple=8,
    defaults=Defaults(
        width=512,
        height=512,
        num_frames=16,
        fps=8,
        num_inference_steps=50,
        guidance_scale=7.5,
        licence="apache-2.0",
    ),
)
