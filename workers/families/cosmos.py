"""Cosmos-Predict1 text to world (arXiv 2501.03575). Two calls a step."""

from workers.families.base import Defaults, Family, Pattern

COSMOS = Family(
    pipeline="CosmosTextToWorldPipeline",
    name="cosmos",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    own_inputs=("timestep", "padding_mask"),
    defaults=Defaults(
        width=1280,
        height=704,
        num_frames=121,
        fps=30,
        num_inference_steps=36,
        guidance_scale=7.0,
        licence="nvidia-open-model-license",
    ),
)
