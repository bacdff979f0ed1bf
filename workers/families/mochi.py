"""Mochi 1 (Genmo). One batch a step.

Text has projections of its own, and attention runs row by row.
"""

from collections.abc import Sequence

from schemas.recipes import Generation
from workers.families.base import Defaults, Family, Pattern, Pipeline


class MochiFamily(Family):
    def share_a_batch(self, pipeline: Pipeline, rows: Sequence[Generation]) -> bool:
        """With this setting the last row's empty negative prompt zeroes those of all rows."""
        zeroes = pipeline.config.get("force_zeros_for_empty_prompt", False)
        mixed = len({row.negative_prompt == "" for row in rows}) > 1
        return super().share_a_batch(pipeline, rows) and not (zeroes and mixed)


MOCHI = MochiFamily(
    pipeline="MochiPipeline",
    name="mochi",
    supports_step_cache=True,
    takes_films=True,
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    batched=True,
    branch_order=("uncond", "cond"),
    pixel_multiple=8,
    min_steps=2,  # its schedule has a linear part and a quadratic one
    defaults=Defaults(
        width=848,
        height=480,
        num_frames=85,
        fps=30,
        num_inference_steps=64,
        guidance_scale=4.5,
        licence="apache-2.0",
        max_frames=163,
    ),
)
