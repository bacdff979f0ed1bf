"""Allegro (arXiv 2410.15458). One batch a step; its VAE decodes in tiles only."""

import math

from schemas.recipes import Generation
from workers.families.base import Axis, Defaults, Family, Pattern, Pipeline


class AllegroFamily(Family):
    """Its VAE decodes whole tiles that overlap; of other sizes it would leave a part black."""

    def axes(self, pipeline: Pipeline) -> tuple[Axis, Axis, Axis]:
        vae = pipeline.vae
        frames, height, width = (
            _tiled(axis.step, kernel, stride)
            for axis, kernel, stride in zip(
                super().axes(pipeline), vae.kernel, vae.stride, strict=True
            )
        )
        return frames, height, width

    def configure(self, pipeline: Pipeline, generation: Generation) -> None:
        pipeline.vae.enable_tiling()


def _tiled(multiple: int, kernel: int, stride: int) -> Axis:
    """Lengths of whole tiles, ``kernel`` long and ``stride`` apart, that are multiples too."""
    first = next(
        length
        for length in range(kernel, kernel + multiple * stride, stride)
        if length % multiple == 0
    )
    step = math.lcm(multiple, stride)
    return Axis(step=step, offset=first % step, minimum=first)


ALLEGRO = AllegroFamily(
    pipeline="AllegroPipeline",
    name="allegro",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    batched=True,
    lowercases=True,
    branch_order=("uncond", "cond"),
    causal=False,
    arguments={"clean_caption": False},  # it would need another package, and change the prompt
    pixel_multiple=8,
    float32_components=("vae",),
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
