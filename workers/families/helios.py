"""Helios: chunks of 33 frames, one after the other. Served one chunk long: steps are then plain."""

from workers.families.base import Defaults, Family, Pattern

HELIOS = Family(
    pipeline="HeliosPipeline",
    name="helios",
    attention=(Pattern(r"blocks\.\d+\.attn1"),),
    drops_rows=False,
    supports_fused_qkv=True,
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
