"""Frames to files: the mp4, the thumbnail and the spritesheet of a video.

The same frames give the same bytes: nothing of time, machine or core count goes into a file.
"""

import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.control.mp4 import Frames, encode_mp4
from workers.media_settings import MediaSettings

_RESAMPLING = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


class Media(NamedTuple):
    """The files of one video."""

    video: bytes
    thumbnail: bytes
    spritesheet: bytes


def encode_media(
    frames: Frames,
    fps: int,
    settings: MediaSettings,
    sound: bytes | None = None,
    video: bytes | None = None,
) -> Media:
    """The three files of ``frames``, (F, H, W, 3) uint8 RGB; ValueError for another shape.

    ``sound``: samples as ``storage.films.sound`` makes them. ``video``: the mp4, if it is there.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be (F, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    if video is None:
        larger = upscale(frames, settings)
        video = encode_mp4(larger, fps, settings.crf, sound, settings.preset)
    return Media(
        video=video,
        thumbnail=_thumbnail(frames[0], settings),
        spritesheet=_spritesheet(frames, settings),
    )


def upscale(frames: Frames, settings: MediaSettings) -> Frames:
    """``frames`` with both sides ``settings.upscale`` times as long."""
    if settings.upscale == 1:
        return frames
    if settings.resampling == "nearest":
        return frames.repeat(settings.upscale, axis=1).repeat(settings.upscale, axis=2)
    size = (frames.shape[2] * settings.upscale, frames.shape[1] * settings.upscale)
    resampling = _RESAMPLING[settings.resampling]
    return np.stack([np.asarray(Image.fromarray(f).resize(size, resampling)) for f in frames])


def encode_region(region: NDArray[np.uint8], fps: int) -> bytes:
    """Grey frames (F, H, W) as a PNG; of more than one an animation, in which frames that are alike
    are one that is shown longer."""
    first, *others = [Image.fromarray(frame) for frame in region]
    output = io.BytesIO()
    duration_ms = 1000 / fps
    if others:
        first.save(output, "PNG", save_all=True, append_images=others, duration=duration_ms, loop=0)
    else:
        first.save(output, "PNG")
    return output.getvalue()


def _thumbnail(image: Frames, settings: MediaSettings) -> bytes:
    picture = Image.fromarray(image)
    factor = settings.thumbnail_side / max(picture.size)
    if factor >= 2 and settings.upscale > 1:
        whole = min(int(factor), settings.upscale)
        picture = picture.resize(
            (picture.width * whole, picture.height * whole), _RESAMPLING[settings.resampling]
        )
    picture.thumbnail((settings.thumbnail_side, settings.thumbnail_side))
    return _webp(picture)


def _spritesheet(frames: Frames, settings: MediaSettings) -> bytes:
    """Frames evenly spread over time, in rows from the top left."""
    count = min(settings.sprites, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    columns = math.ceil(math.sqrt(count))
    sprites = [Image.fromarray(frames[place]) for place in chosen]
    for sprite in sprites:
        sprite.thumbnail((settings.sprite_side, settings.sprite_side))
    width, height = sprites[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for place, sprite in enumerate(sprites):
        sheet.paste(sprite, (place % columns * width, place // columns * height))
    return _webp(sheet)


def _webp(picture: Image.Image) -> bytes:
    output = io.BytesIO()
    picture.save(output, "WEBP", quality=85, method=4)
    return output.getvalue()
