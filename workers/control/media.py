"""Frames to files: the mp4, the thumbnail and the spritesheet of a video.

The same frames give the same bytes: nothing of time, machine or core count goes into a file.
"""

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image

from storage.films.sound import CHANNELS, RATE
from workers.media_settings import PRESET, EncoderPreset, MediaSettings

Frames = NDArray[np.uint8]  # (F, H, W, 3), RGB

_ENCODER_THREADS = 4  # x264 writes their number into the stream, so it may not follow the cores
_AUDIO_FRAME = 1024  # samples of one AAC frame
_BT709 = 1  # AVColorPrimaries, AVColorTransferCharacteristic and AVColorSpace, ITU-T H.273
_RESAMPLING = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


class Media(NamedTuple):
    """The files of one video."""

    video: bytes
    thumbnail: bytes
    spritesheet: bytes


def encode_media(
    frames: Frames, fps: int, settings: MediaSettings, sound: bytes | None = None
) -> Media:
    """The three files of ``frames``, (F, H, W, 3) uint8 RGB; ValueError for another shape.

    ``sound``: samples as ``storage.films.sound`` makes them.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be (F, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    return Media(
        video=encode_mp4(upscale(frames, settings), fps, settings.crf, sound, settings.preset),
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


def encode_mp4(
    frames: Frames,
    fps: int,
    crf: int,
    sound: bytes | None = None,
    preset: EncoderPreset = PRESET,
) -> bytes:
    """H.264 and, where there is ``sound``, AAC in mp4; BT.709; the index first, so that a player
    starts before it has all of it."""
    height, width = frames.shape[1:3]
    output = io.BytesIO()
    # room for the index is kept at the front: "faststart" would need the output to be a named file
    room = 4096 + 64 * len(frames) + len(sound or b"") // (_AUDIO_FRAME // 16)
    options = {"moov_size": str(room), "fflags": "+bitexact"}
    with av.open(output, "w", format="mp4", container_options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = width, height
        # 4:2:0 halves both sides of the colour planes, so it takes even sides only
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        # mbtree off: x264's AVX-512 code for it gives other bytes in 2% of runs (measured)
        stream.options = {
            "crf": str(crf),
            "preset": preset,
            "flags": "+bitexact",
            "x264-params": "mbtree=0",
        }
        context = stream.codec_context
        context.thread_count = _ENCODER_THREADS
        track = None if sound is None else container.add_stream("aac", rate=RATE, layout="stereo")
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        for number, image in enumerate(frames):
            frame = VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            for piece in _audio_frames(sound):
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return output.getvalue()


def _audio_frames(sound: bytes) -> Iterator[AudioFrame]:
    samples = np.frombuffer(sound, np.int16).reshape(1, -1)  # left and right in turn
    step = _AUDIO_FRAME * CHANNELS
    for start in range(0, samples.shape[1], step):
        frame = AudioFrame.from_ndarray(samples[:, start : start + step], "s16", "stereo")
        frame.rate, frame.pts = RATE, start // CHANNELS
        frame.time_base = Fraction(1, RATE)
        yield frame


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


def decode_frames(video: bytes, width: int, height: int) -> Frames:
    """Of an mp4 of ours, (F, height, width, 3): without what it was enlarged by."""
    with av.open(io.BytesIO(video), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    size, box = (width, height), Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, box)) for frame in frames])


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
