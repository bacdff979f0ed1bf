"""How a worker writes videos, thumbnails and spritesheets."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Frozen


class MediaSettings(Frozen):
    """Of every video.

    ``crf``: x264's quality, 0 (lossless) to 51. ``upscale``: times that width and height grow,
    each pixel as it is (``nearest``) or smoothed (``lanczos``). Sides in pixels.
    """

    crf: Annotated[int, Field(ge=0, le=51)] = 18
    upscale: Annotated[int, Field(ge=1, le=16)] = 1
    resampling: Literal["nearest", "lanczos"] = "nearest"
    thumbnail_side: Annotated[int, Field(ge=16, le=4096)] = 512
    sprites: Annotated[int, Field(ge=1, le=100)] = 16
    sprite_side: Annotated[int, Field(ge=16, le=1024)] = 160
