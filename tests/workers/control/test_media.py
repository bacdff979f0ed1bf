import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from workers.control.media import encode_media, upscale
from workers.control.mp4 import encode_mp4
from workers.media_settings import MediaSettings


def gradient(frames: int = 9, height: int = 48, width: int = 64) -> Any:
    rows, columns = np.mgrid[0:height, 0:width]
    film = [np.stack([columns * 3 + f * 5, rows * 4, rows + f], -1) for f in range(frames)]
    return np.stack(film).astype(np.uint8)


def decode(video: bytes) -> Iterator[Any]:
    with av.open(io.BytesIO(video), "r") as container:
        for frame in container.decode(video=0):
            yield frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()


def test_every_frame_comes_back_nearly_as_it_was() -> None:
    frames = gradient()
    seen = np.stack(list(decode(encode_mp4(frames, 8, crf=8))))
    assert seen.shape == frames.shape
    assert np.abs(seen.astype(int) - frames).mean() < 4


def test_length_follows_fps() -> None:
    with av.open(io.BytesIO(encode_mp4(gradient(12), 6, crf=18)), "r") as container:
        assert container.duration == 2_000_000  # microseconds
        assert container.streams.video[0].average_rate == 6


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 33, 35), (40, 64, 96)])
def test_any_shape_is_written(shape: tuple[int, int, int]) -> None:
    assert len(list(decode(encode_mp4(gradient(*shape), 8, crf=18)))) == shape[0]


def test_same_frames_same_bytes_wherever_they_lie_in_memory() -> None:
    frames = gradient(17, 64, 96)
    first = encode_media(frames, 8, MediaSettings())
    kept = []
    for size in range(1000, 31_000, 1000):
        kept.append(np.ones(size * 7, np.uint8))  # what lies behind a frame differs each time
        assert encode_media(np.asfortranarray(frames), 8, MediaSettings()) == first


def test_a_slower_preset_makes_a_smaller_file() -> None:
    frames = gradient(17, 64, 96)
    ultrafast, slow = (
        encode_media(frames, 8, MediaSettings(preset=preset)).video
        for preset in ("ultrafast", "slow")
    )
    assert len(slow) < len(ultrafast)


def test_the_index_comes_before_the_frames() -> None:
    video = encode_mp4(gradient(), 8, crf=18)
    assert 0 < video.find(b"moov") < video.find(b"mdat")


def test_nearest_upscaling_repeats_pixels() -> None:
    frames = gradient(2)
    larger = upscale(frames, MediaSettings(upscale=3))
    assert larger.shape == (2, 144, 192, 3)
    assert all((larger[:, a::3, b::3] == frames).all() for a in range(3) for b in range(3))


def test_lanczos_upscaling_is_smooth() -> None:
    larger = upscale(gradient(2), MediaSettings(upscale=2, resampling="lanczos"))
    assert larger.shape == (2, 96, 128, 3)
    assert not (larger[:, ::2] == larger[:, 1::2]).all()


def test_pictures_fit_their_settings() -> None:
    media = encode_media(
        gradient(20, 96, 160), 8, MediaSettings(thumbnail_side=80, sprites=6, sprite_side=40)
    )
    assert Image.open(io.BytesIO(media.thumbnail)).size == (80, 48)
    sheet = Image.open(io.BytesIO(media.spritesheet))
    assert (sheet.format, sheet.size) == ("WEBP", (3 * 40, 2 * 24))


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((0, 4, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(frames: Any) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        encode_media(frames, 8, MediaSettings())
