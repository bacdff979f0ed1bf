"""Films in files: what is read of them, how they are fitted, and what a hostile one may cost."""

import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import FilmUnreadable
from schemas.films.film import Film
from storage.films.reader import FilmLimits, probe, read_frames, read_sound
from storage.films.sound import RATE

LIMITS = FilmLimits()
WIDTH, HEIGHT, FPS, COUNT = 96, 64, 8, 16
KINDS = {
    "mp4": ("mp4", "libx264", "yuv420p", "aac"),
    "10 bit": ("mp4", "libx265", "yuv420p10le", "aac"),
    "mov": ("mov", "libx264", "yuv444p", "aac"),
    "webm": ("webm", "libvpx-vp9", "yuv420p", "libopus"),
    "gif": ("gif", "gif", "rgb8", None),
}


def write(path: Path, kind: str = "mp4", *, sound: bool = False, **size: int) -> Path:
    """A film whose red grows by 12 a frame, with a white corner at the top left."""
    container_format, codec, pixels, audio = KINDS[kind]
    width, height = size.get("width", WIDTH), size.get("height", HEIGHT)
    with av.open(str(path), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        track: Any = container.add_stream(audio, rate=RATE) if sound and audio else None
        for number in range(size.get("count", COUNT)):
            image = np.zeros((height, width, 3), np.uint8)
            image[:, :] = [12 * number % 256, 0, 60]
            image[: height // 8, : width // 8] = 255
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
            audio_frame = av.AudioFrame.from_ndarray(tone[None] / 2, format="fltp", layout="mono")
            audio_frame.rate = RATE
            container.mux(track.encode(audio_frame))
            container.mux(track.encode(None))
    return path


def frames_of(
    path: Path, count: int, size: tuple[int, int] = (WIDTH, HEIGHT), **film: Any
) -> NDArray[np.uint8]:
    asked = Film.model_validate({"sha256": "0" * 64, "fps": FPS, **film})
    data = read_frames(path, asked, size, count, LIMITS)
    return np.frombuffer(data, np.uint8).reshape(count, size[1], size[0], 3)


def reds(frames: NDArray[np.uint8]) -> list[float]:
    """The number in the film of each frame, by its colour in the middle."""
    _, height, width, _ = frames.shape
    return [float(value) / 12 for value in frames[:, height // 2, width // 2, 0]]


@pytest.mark.parametrize("kind", ["mp4", "10 bit", "mov", "webm"])
def test_every_kind_is_read_frame_by_frame(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "film", kind, sound=True)
    info = probe(path, LIMITS)
    assert (info.width, info.height, info.fps, info.audio) == (WIDTH, HEIGHT, FPS, True)
    assert info.seconds == pytest.approx(2, abs=0.1)
    assert reds(frames_of(path, COUNT)) == pytest.approx(range(COUNT), abs=0.5)


def test_a_gif_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "film", "gif")
    info = probe(path, LIMITS)
    assert (info.container, info.audio) == ("gif", False)
    made = frames_of(path, 12)
    assert len({frame.tobytes() for frame in made}) > 4
    assert (made[:, :6, :6] > 200).all()


def test_time_is_resampled_and_the_last_frame_repeated(tmp_path: Path) -> None:
    path = write(tmp_path / "film")
    assert reds(frames_of(path, 4, fps=2)) == pytest.approx([0, 4, 8, 12], abs=0.5)
    assert reds(frames_of(path, 6, fps=16)) == pytest.approx([0, 0, 1, 1, 2, 2], abs=0.5)
    late = reds(frames_of(path, 4, start_s=1.75))
    assert late == pytest.approx([14, 15, 15, 15], abs=0.5)
    with pytest.raises(FilmUnreadable, match=r"start_s: 2\.5 is not in the video"):
        frames_of(path, 4, start_s=2.5)


def test_cropped_or_with_bars(tmp_path: Path) -> None:
    path = write(tmp_path / "film")
    cropped = frames_of(path, 1, (64, 64))
    assert cropped[0, :8, :4].max() < 100  # the white corner is cut off
    padded = frames_of(path, 1, (96, 96), fit="pad")
    assert padded[0, :15].max() < 20
    assert padded[0, -15:].max() < 20
    assert padded[0, 17:23, :10].min() > 200


def test_what_is_to_be_turned_is_turned(tmp_path: Path) -> None:
    path = write(tmp_path / "film")
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd") + 44  # behind flags, times, id and layer: the matrix
    clockwise = (0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    data[start : start + 36] = struct.pack(">9i", *clockwise)
    path.write_bytes(data)
    info = probe(path, LIMITS)
    assert (info.width, info.height, info.rotation) == (HEIGHT, WIDTH, 270)
    turned = frames_of(path, 1, (HEIGHT, WIDTH))
    assert turned[0, :10, -6:].min() > 200  # the corner was at the top left
    assert turned[0, :10, :6].max() < 100


def test_sound_is_cut_to_the_film(tmp_path: Path) -> None:
    path = write(tmp_path / "film", sound=True)
    data = read_sound(path, 0.5, 2.0, LIMITS)
    assert data is not None
    samples = np.frombuffer(data, np.int16).reshape(-1, 2).astype(int)
    assert len(samples) == 2 * RATE
    loud = np.abs(samples[:, 0]).reshape(20, -1).mean(1) > 1000
    assert loud[:14].all()  # a second and a half are left
    assert not loud[16:].any()
    assert read_sound(write(tmp_path / "mute"), 0, 1, LIMITS) is None


def test_what_only_breaks_off_later_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "film", "webm", count=64)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert frames_of(path, 4).any()
    with pytest.raises(FilmUnreadable, match="cut off"):
        frames_of(path, 64)


def hostile(folder: Path) -> dict[str, bytes]:
    mp4, gif = write(folder / "a").read_bytes(), write(folder / "b", "gif").read_bytes()
    sound = folder / "c"
    with av.open(str(sound), "w", format="mp4") as container:
        track: Any = container.add_stream("aac", rate=RATE)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.float32), "fltp", "mono")
        silence.rate = RATE
        container.mux(track.encode(silence))
        container.mux(track.encode(None))
    return {
        "empty": b"",
        "playlist": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/passwd\n",
        "script": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "no index": mp4[: len(mp4) // 2],
        "noise": mp4[:40] + np.random.default_rng(0).bytes(5000),
        "giant gif": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "only sound": sound.read_bytes(),
    }


def test_hostile_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "film"
    for data in hostile(tmp_path).values():
        path.write_bytes(data)
        with pytest.raises(FilmUnreadable) as caught:
            probe(path, LIMITS)
        assert str(tmp_path) not in caught.value.message


def test_a_bomb_ends_its_own_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "film"
    gif = write(path, "gif").read_bytes()
    path.write_bytes(gif[:6] + struct.pack("<HH", 32_000, 32_000) + gif[10:])
    with pytest.raises(FilmUnreadable):
        probe(path, FilmLimits(memory_bytes=1 << 28, max_pixels=1 << 30))
    write(path, width=4096, height=4096, count=1)
    few = FilmLimits(max_pixels=1 << 20)
    with pytest.raises(FilmUnreadable, match="4096x4096; allowed are 1048576"):
        probe(path, few)
    with pytest.raises(FilmUnreadable, match=r"longer to read than the 0\.01 seconds"):
        probe(path, FilmLimits(timeout_s=0.01))
    with pytest.raises(FilmUnreadable, match="allowed are 1"):
        probe(write(tmp_path / "long"), FilmLimits(max_seconds=1))
    assert probe(path, LIMITS).width == 4096


def test_the_child_has_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen: dict[str, Any] = {}
    stock = subprocess.Popen

    def popen(*args: Any, **options: Any) -> Any:
        seen.update(options["env"])
        return stock(*args, **options)

    monkeypatch.setattr("storage.films.reader.subprocess.Popen", popen)
    probe(write(tmp_path / "film"), LIMITS)
    assert seen
    assert not {name for name in seen if name.startswith(("AWS", "RETAKE"))}
