"""LTX-Video 0.9.0, image to video: the picture is the first latent frame, at time 0."""

from workers.families.base import Defaults, Family, Pattern, Pipeline


class LTXI2VFamily(Family):
    def check(self, pipeline: Pipeline) -> None:
        if pipeline.vae.config.timestep_conditioning:
            raise ValueError(
                "its pipeline draws noise for the VAE that no request's seed can decide; set "
                "pipeline: LTXConditionPipeline, which makes videos from pictures with it too"
            )


LTX_I2V = LTXI2VFamily(
    pipeline="LTXImageToVideoPipeline",
    name="ltx-i2v",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    batched=True,
    branch_order=("uncond", "cond"),
    latent_layout="packed",
    pixel_multiple=32,
    fps_argument="frame_rate",
    max_batch=1,  # it would take one picture a prompt
    picture="required",
    defaults=Defaults(
        width=704,
        height=512,
        num_frames=161,
        fps=25,
        num_inference_steps=50,
        guidance_scale=3.0,
        licence="ltx-video-open-weights",
        max_frames=257,
    ),
)
