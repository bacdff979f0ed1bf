"""AnyFlow: few-step flow maps on the Wan architecture. One batch a step with guidance."""

from workers.families.base import Defaults, Family, Pattern

ANYFLOW = Family(
    pipeline="AnyFlowPipeline",
    name="anyflow",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    batched=True,
    branch_order=("uncond", "cond"),
    own_inputs=("timestep", "r_timestep"),
    latent_layout="BFCHW",
    defaults=Defaults(
        width=832,
        height=480,
        num_frames=81,
        fps=16,
        num_inference_steps=4,  # of diffusers' example: it is distilled
        guidance_scale=1.0,
    ),
)
