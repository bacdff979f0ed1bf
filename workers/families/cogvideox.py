"""CogVideoX 1.0 and 1.5 (arXiv 2408.06072). One batch a step.

Joint attention over [text, video].
"""

from workers.families.base import Axis, Defaults, Family, Pattern, Pipeline


class CogVideoXFamily(Family):
    """Its VAE decodes two latent frames at a time, and of an even number gives more frames than
    were asked for. 1.5 has no positions beyond the size that its transformer was made for."""

    def axes(self, pipeline: Pipeline) -> tuple[Axis, Axis, Axis]:
        frames, height, width = super().axes(pipeline)
        step = 2 * frames.step
        frames = frames._replace(step=step, minimum=step + frames.offset)
        config = self.config(pipeline)
        if config.patch_size_t is None:
            return frames, height, width
        stride = int(pipeline.vae_scale_factor_spatial)
        return (
            frames,
            height._replace(maximum=config.sample_height * stride),
            width._replace(maximum=config.sample_width * stride),
        )


COGVIDEOX = CogVideoXFamily(
    pipeline="CogVideoXPipeline",
    name="cogvideox",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1", layout="text_video"),),
    batched=True,
    branch_order=("uncond", "cond"),
    supports_fused_qkv=True,
    supports_step_cache=True,
    latent_layout="BFCHW",
    pixel_multiple=8,
    defaults=Defaults(
        width=720,
        height=480,
        num_frames=49,
        fps=8,
        num_inference_steps=50,
        guidance_scale=6.0,
        licence="cogvideox",
    ),
)
