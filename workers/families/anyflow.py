"""AnyFlow: few-step flow maps on the Wan architecture. One batch a step with guidance."""

from workers.attention.sites import Pattern
from workers.families.base import Defaults, Family

ANYFLOW = Family(
    pipeline="AnyFlowPipeline",
    name="anyflow",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    batched=True,
    order=("uncond", "cond"),
    own_inputs=("timestep", "r_timestep"),
    latents="BFCHW",
    defaults=Defaults(
        width=832,
        height=480,
        num_frames=81,
        fps=16,
        num_inference_steps=50,
        guidance_scale=1.0,
    ),
)
