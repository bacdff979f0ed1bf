"""Kandinsky 5.0 text to video (arXiv 2511.14993). Two calls a step."""

from workers.families.base import Defaults, Family, Pattern

KANDINSKY5 = Family(
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
