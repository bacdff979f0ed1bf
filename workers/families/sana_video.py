"""Sana-Video (arXiv 2509.24695): linear attention. Generation only: there is no softmax map."""

from workers.families.base import Defaults, Family

SANA_VIDEO = Family(
    pipeline="SanaVideoPipeline",
    name="sana-video",
    attention=(),
    batched=True,
    lowercases=True,
    branch_order=("uncond", "cond"),
    frames_argument="frames",
    arguments={"use_resolution_binning": False, "complex_human_instruction": None},
    pixel_multiple=32,
    float32_components=("vae",),
    defaults=Defaults(
        width=832,
        height=480,
        num_frames=81,
        fps=16,
        num_inference_steps=50,
        guidance_scale=6.0,
    ),
)
