"""Kandinsky 5.0, image to video: the picture is the first latent frame. Two calls a step."""

from workers.families.base import Axis, Defaults, Pattern, Pipeline
from workers.families.kandinsky5 import Kandinsky5Family

NORMALISED = 4  # latent frames


class Kandinsky5I2VFamily(Kandinsky5Family):
    """Behind its steps it brings the first latent frames to the mean and deviation of those behind
    them: a video without any would be no numbers."""

    def axes(self, pipeline: Pipeline) -> tuple[Axis, Axis, Axis]:
        frames, height, width = super().axes(pipeline)
        return frames._replace(minimum=NORMALISED * frames.step + frames.offset), height, width


KANDINSKY5_I2V = Kandinsky5I2VFamily(
    pipeline="Kandinsky5I2VPipeline",
    name="kandinsky-5-i2v",
    attention=(Pattern(r"visual_transformer_blocks\.\d+\.self_attention"),),
    own_inputs=("timestep", "visual_rope_pos", "scale_factor"),
    channels="in_visual_dim",
    drops_rows=False,
    templated=True,
    latent_layout="BFHWC",
    max_batch=1,  # the mean is that of the batch
    picture="required",
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
