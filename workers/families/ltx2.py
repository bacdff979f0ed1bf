"""LTX-2: video and audio denoised together. The video's self-attention is what is kept.

Its spatio-temporal and modality guidance call the transformer again; those calls are left alone.
Sound has a guidance scale of its own (7), which keeps both branches where the video's is off.
"""

from workers.families.base import Defaults, Family, Pattern

LTX2 = Family(
    pipeline="LTX2Pipeline",
    name="ltx-2",
    attention=(Pattern(r"transformer_blocks\.\d+\.attn1"),),
    extra_calls=2,
    batched=True,
    always_guided=True,
    arguments={"audio_guidance_scale": 7.0},
    branch_order=("uncond", "cond"),
    step_inputs=("hidden_states", "audio_hidden_states"),
    own_inputs=("timestep", "sigma", "video_coords", "audio_coords"),
    latent_layout="packed",
    pixel_multiple=32,
    fps_argument="frame_rate",
    defaults=Defaults(
        width=768,
        height=512,
        num_frames=121,
        fps=24,
        num_inference_steps=40,
        guidance_scale=4.0,
        licence="ltx-2-community",
    ),
)
