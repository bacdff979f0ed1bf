"""How a worker writes videos, thumbnails and spritesheets."""

from typing import Literal

from pydantic import Field

from schemas.base import Frozen

EncoderPreset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
PRESET: EncoderPreset = "veryfast"


class MediaSettings(Frozen):
    """How video files are written. Sides in pixels."""

    crf: int = Field(18, ge=0, le=51, description="x264's quality, from 0 (lossless) to 51.")
    preset: EncoderPreset = Field(
        PRESET,
        description="x264's preset: a slower one makes smaller files. `medium` takes two to three "
        "times as long as `veryfast` for a file smaller by about a tenth.",
    )
    upscale: int = Field(1, ge=1, le=16, description="The factor by which width and height grow.")
    resampling: Literal["nearest", "lanczos"] = Field(
        "nearest", description="How `upscale` fills pixels: repeated, or smoothed."
    )
    thumbnail_side: int = Field(
        512, ge=16, le=4096, description="The longer side of the thumbnail, at most."
    )
    sprites: int = Field(16, ge=1, le=100, description="Frames in the spritesheet.")
    sprite_side: int = Field(160, ge=16, le=1024, description="The longer side of each, at most.")
