"""Allegro (arXiv 2410.15458). One batch a step; its VAE decodes in tiles only."""

from schemas.recipes import Generation
from workers.families.base import Defaults, Family, Pattern, Pipeline


class AllegroFamily(Family):
    def configure(self, pipeline: Pipeline, generation: Generation) -> None:
        pipeline.vae.enable_tiling()


ALLEGRO = AllegroFamily(
    pipeline="AllegroPipeline",
    name="allegro",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    batched=True,
    branch_order=("uncond", "cond"),
    causal=False,
    arguments={"clean_caption": False},  # it would need another package, and change the prompt
    defaults=Defaults(
        width=1280,
        height=720,
        num_frames=88,
        fps=15,
        num_inference_steps=100,
        guidance_scale=7.5,
        licence="apache-2.0",
    ),
)
