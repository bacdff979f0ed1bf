"""EasyAnimate V5 (arXiv 2405.18991). One batch a step.

Two streams first, then blocks over [text, video].
"""

from workers.families.base import Defaults, Family, Pattern, Pipeline


class EasyAnimateFamily(Family):
    def prompt_limit(self, pipeline: Pipeline) -> int | None:
        """Its template counts among the tokens."""
        limit = super().prompt_limit(pipeline)
        message = [{"role": "user", "content": [{"type": "text", "text": ""}]}]
        template = pipeline.tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True
        )
        return limit and limit - len(pipeline.tokenizer(template).input_ids)


EASYANIMATE = EasyAnimateFamily(
    pipeline="EasyAnimatePipeline",
    name="easyanimate",
    takes_films=True,
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1", layout="text_video"),),
    batched=True,
    branch_order=("uncond", "cond"),
    templated=True,
    defaults=Defaults(
        width=512,
        height=512,
        num_frames=49,
        fps=8,
        num_inference_steps=50,
        guidance_scale=5.0,
        licence="apache-2.0",
    ),
)
