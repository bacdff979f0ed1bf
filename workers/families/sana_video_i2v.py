"""Sana-Video, image to video. Generation only: there is no softmax map."""

from dataclasses import replace

from workers.families.sana_video import SANA_VIDEO

SANA_VIDEO_I2V = replace(
    SANA_VIDEO,
    pipeline="SanaImageToVideoPipeline",
    name="sana-video-i2v",
    picture="required",
)
