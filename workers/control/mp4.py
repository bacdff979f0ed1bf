"""Frames to an mp4, one after the other, and back.

The same frames give the same bytes: nothing of time, machine or core count goes into a file.
"""

import io
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image

from storage.films.sound import CHANNELS, RATE
from workers.media_settings import PRESET, EncoderPreset

Frames = NDArray[np.uint8]  # (F, H, W, 3), RGB

_ENCODER_THREADS = 4  # x264 writes their number into the stream, so it may not follow the cores
_AUDIO_FRAME = 1024  # samples of one AAC frame
_BT709 = 1  # AVColorPrimaries, AVColorTransferCharacteristic and AVColorSpace, ITU-T H.273


class Mp4Encoder:
    """H.264 and, where there is ``sound``, AAC in mp4; BT.709; the index first, so that a player
    starts before it has all of it.

    ``count``, ``height``, ``width``: of the frames that will come. ``sound``: samples as
    ``storage.films.sound`` makes them.
    """

    def __init__(
        self,
        count: int,
        height: int,
        width: int,
        fps: int,
        crf: int,
        preset: EncoderPreset,
        sound: bytes | None = None,
    ) -> None:
        self._output, self._fps, self._sound, self._written = io.BytesIO(), fps, sound, 0
        # the index gets room at the front: "faststart" would need the output to be a named file
        room = 4096 + 64 * count + len(sound or b"") // (_AUDIO_FRAME // 16)
        options = {"moov_size": str(room), "fflags": "+bitexact"}
        self._container = av.open(self._output, "w", format="mp4", container_options=options)
        stream = self._stream = self._container.add_stream("libx264", rate=fps)
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
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        self._track = None
        if sound is not None:
            self._track = self._container.add_stream("aac", rate=RATE, layout="stereo")

    def add(self, image: NDArray[np.uint8]) -> None:
        """The next frame, (height, width, 3) RGB."""
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
        frame.pts, frame.time_base = self._written, Fraction(1, self._fps)
        self._container.mux(self._stream.encode(frame))
        self._written += 1

    def finish(self) -> bytes:
        """The file. Nothing can be added behind it."""
        self._container.mux(self._stream.encode(None))
        if self._track is not None and self._sound is not None:
            for piece in _audio_frames(self._sound):
                self._container.mux(self._track.encode(piece))
            self._container.mux(self._track.encode(None))
        self.close()
        return self._output.getvalue()

    def close(self) -> None:
        """Let go of what is not finished."""
        self._container.close()


def encode_mp4(
    frames: Frames,
    fps: int,
    crf: int,
    sound: bytes | None = None,
    preset: EncoderPreset = PRESET,
) -> bytes:
    """What ``Mp4Encoder`` makes of all ``frames``."""
    count, height, width = frames.shape[:3]
    with closing(Mp4Encoder(count, height, width, fps, crf, preset, sound)) as encoder:
        for image in frames:
            encoder.add(image)
        return encoder.finish()


def _audio_frames(sound: bytes) -> Iterator[AudioFrame]:
    samples = np.frombuffer(sound, np.int16).reshape(1, -1)  # left and right in turn
    step = _AUDIO_FRAME * CHANNELS
    for start in range(0, samples.shape[1], step):
        frame = AudioFrame.from_ndarray(samples[:, start : start + step], "s16", "stereo")
        frame.rate, frame.pts = RATE, start // CHANNELS
        frame.time_base = Fraction(1, RATE)
        yield frame


def decode_frames(video: bytes, width: int, height: int) -> Frames:
    """Of an mp4 of ours, (F, height, width, 3): without what it was enlarged by."""
    with av.open(io.BytesIO(video), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    size, box = (width, height), Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, box)) for frame in frames])
