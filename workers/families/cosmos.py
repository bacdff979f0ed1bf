"""Cosmos-Predict1 text to world (arXiv 2501.03575). Two calls a step."""

from workers.families.base import Axis, Defaults, Family, Pattern, Pipeline


class CosmosFamily(Family):
    """Its positions end at the transformer's ``max_size``, in latents."""

    def axes(self, pipeline: Pipeline) -> tuple[Axis, Axis, Axis]:
        frames, height, width = super().axes(pipeline)
        _, space, _ = self.grid(pipeline).vae_stride
        most_frames, most_rows, most_columns = self.config(pipeline).max_size
        return (
            frames._replace(maximum=(most_frames - 1) * frames.step + 1),
            height._replace(maximum=most_rows * space),
            width._replace(maximum=most_columns * space),
        )


COSMOS = CosmosFamily(
    pipeline="CosmosTextToWorldPipeline",
    name="cosmos",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    own_inputs=("timestep", "padding_mask"),
    fps_argument="fps",
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
