"""Kandinsky 5.0 text to video (arXiv 2511.14993). Two calls a step."""

from workers.families.base import Defaults, Family, Pattern, Pipeline


class Kandinsky5Family(Family):
    def latent_channels(self, pipeline: Pipeline) -> int:
        """Most of its models are given a first frame and a mask beside the noise, empty or not."""
        channels = super().latent_channels(pipeline)
        return 2 * channels + 1 if self.config(pipeline).visual_cond else channels


KANDINSKY5 = Kandinsky5Family(
    pipeline="Kandinsky5T2VPipeline",
    name="kandinsky-5",
    attention=(Pattern(r"visual_transformer_blocks\.\d+\.self_attention"),),
    own_inputs=("timestep", "visual_rope_pos", "scale_factor"),
    channels="in_visual_dim",
    drops_rows=False,
    templated=True,
    latent_layout="BFHWC",
    defaults=Defaults(
        width=768,
        height=512,
        num_frames=121,
        fps=24,
        num_inference_steps=50,
        guidance_scale=5.0,
        licence="mit",
    ),
)
