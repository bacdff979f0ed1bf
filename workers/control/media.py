"""Frames to files: the mp4, the thumbnail and the spritesheet of a video.

The same frames give the same bytes: nothing of time, machine or core count goes into a file.
"""

import io
import math
from fractions import Fraction
from typing import Literal, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from schemas.base import Frozen

Frames = NDArray[np.uint8]  # (F, H, W, 3), RGB

_ENCODER_THREADS = 4  # x264 writes their number into the stream, so it may not follow the cores
_BT709 = 1  # AVColorPrimaries, AVColorTransferCharacteristic and AVColorSpace, ITU-T H.273
_RESAMPLING = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


class MediaSettings(Frozen):
    """How video files are written. Sides in pixels."""

    crf: int = Field(18, ge=0, le=51, description="x264's quality, from 0 (lossless) to 51.")
    upscale: int = Field(1, ge=1, le=16, description="The factor by which width and height grow.")
    resampling: Literal["nearest", "lanczos"] = Field(
        "nearest", description="How `upscale` fills pixels: repeated, or smoothed."
    )
    thumbnail_side: int = Field(
        512, ge=16, le=4096, description="The longer side of the thumbnail, at most."
    )
    sprites: int = Field(16, ge=1, le=100, description="Frames in the spritesheet.")
    sprite_side: int = Field(160, ge=16, le=1024, description="The longer side of each, at most.")


class Media(NamedTuple):
    """The files of one video."""

    video: bytes
    thumbnail: bytes
    spritesheet: bytes


def encode_media(frames: Frames, fps: int, settings: MediaSettings) -> Media:
    """The three files of ``frames``, (F, H, W, 3) uint8 RGB; ValueError for another shape."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be (F, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    return Media(
        video=encode_mp4(upscale(frames, settings), fps, settings.crf),
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


def encode_mp4(frames: Frames, fps: int, crf: int) -> bytes:
    """H.264 in mp4, BT.709, the index first so that a player starts before it has all of it."""
    height, width = frames.shape[1:3]
    output = io.BytesIO()
    # room for the index is kept at the front: "faststart" would need the output to be a named file
    options = {"moov_size": str(4096 + 64 * len(frames)), "fflags": "+bitexact"}
    with av.open(output, "w", format="mp4", container_options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = width, height
        # 4:2:0 halves both sides of the colour planes, so it takes even sides only
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        # mbtree off: x264's AVX-512 code for it gives other bytes in 2% of runs (measured)
        stream.options = {"crf": str(crf), "flags": "+bitexact", "x264-params": "mbtree=0"}
        context = stream.codec_context
        context.thread_count = _ENCODER_THREADS
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        for number, image in enumerate(frames):
            frame = VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
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
