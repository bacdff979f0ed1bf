"""LTX-2, image to video: the picture is the first latent frame, at time 0.

It is compressed as H.264 first, as the pictures were that the model learnt from.
"""

from dataclasses import replace

from workers.families.ltx2 import LTX2

LTX2_I2V = replace(
    LTX2,
    pipeline="LTX2ImageToVideoPipeline",
    name="ltx-2-i2v",
    own_inputs=("timestep", "audio_timestep", "sigma", "video_coords", "audio_coords"),
    max_batch=1,  # it would take one picture a prompt
    picture="required",
)
