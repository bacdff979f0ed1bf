"""Helios: chunks of 33 frames, one after the other. Served one chunk long: steps are then plain."""

from workers.attention.sites import Pattern
from workers.families.base import Defaults, Family

HELIOS = Family(
    pipeline="HeliosPipeline",
    name="helios",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    drops_rows=False,
    fuses=True,
    defaults=Defaults(
        width=640,
        height=384,
        num_frames=33,
        fps=24,
        num_inference_steps=50,
        guidance_scale=5.0,
        max_frames=33,
    ),
)
