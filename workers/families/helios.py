"""Helios: chunks of 33 frames, one after the other. Served one chunk long: steps are then plain."""

from workers.families.base import Defaults, Family, Pattern, Pipeline

CHUNK = 9  # latent frames


class HeliosFamily(Family):
    """It makes whole chunks, whatever number of frames it is asked for."""

    def fixed_num_frames(self, pipeline: Pipeline) -> int | None:
        return (CHUNK - 1) * int(pipeline.vae_scale_factor_temporal) + 1


HELIOS = HeliosFamily(
    pipeline="HeliosPipeline",
    name="helios",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    drops_rows=False,
    supports_fused_qkv=True,
    float32_components=("vae",),
    defaults=Defaults(
        width=640,
        height=384,
        num_frames=33,
        fps=24,
        num_inference_steps=50,
        guidance_scale=5.0,
    ),
)
