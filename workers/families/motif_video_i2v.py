"""Motif-Video, image to video: coded behind the noise, and seen by its text encoder's eye."""

from dataclasses import replace

from workers.families.motif_video import MOTIF_VIDEO

MOTIF_VIDEO_I2V = replace(
    MOTIF_VIDEO,
    pipeline="MotifVideoImage2VideoPipeline",
    name="motif-video-i2v",
    max_batch=1,  # it takes one picture, and its VAE's noise is that of the batch's first seed
    picture="required",
)
