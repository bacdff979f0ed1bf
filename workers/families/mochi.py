"""Mochi 1 (Genmo). One batch a step.

Text has projections of its own, and attention runs row by row.
"""

from workers.families.base import Defaults, Family, Pattern

MOCHI = Family(
    pipeline="MochiPipeline",
    name="mochi",
    supports_step_cache=True,
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
