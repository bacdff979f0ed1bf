"""The process that reads an uploaded file: ``python -m storage.films.child``, a task on its stdin.

It is expendable: whatever it raises becomes one line of JSON, whatever kills it is noticed by
``storage.films.reader``. Only the demuxers of the formats that are allowed are tried, so that
playlists and scripts, which name other files, are never read as such.
"""

import contextlib
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from schemas.films.film import Film, place
from storage.films.sound import sound_of

ALLOWED = "allowed are mp4, mov, webm and gif"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_DEMUXERS = {"mp4": "mov", "webm": "matroska", "gif": "gif"}
_EARLY_S = 0.001  # a frame shown this much later than it is wanted still counts: times are rounded
_FRAMES_SHORT = 2.5  # a film that ends this many frames before the time it says was cut off
_CPU_MARGIN_S = 5


class Refused(Exception):
    """The file is not what we read; the text is for the client."""


def main() -> None:
    task: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    _limit(task)
    av.logging.set_level(None)
    try:
        answer, data = TASKS[task["task"]](task)
    except Refused as error:
        _refuse(str(error))
    except av.FFmpegError as error:
        _refuse(f"the video cannot be decoded: {error.strerror or 'it is damaged'}")
    except MemoryError:
        _refuse("the video needs more memory than reading one may take")
    except (ValueError, OverflowError, ArithmeticError, LookupError):
        _refuse("the video cannot be read: it is damaged")
    _write(answer, data)


def _limit(task: dict[str, Any]) -> None:
    """No file can be written, no core dumped; a bomb ends this process alone."""
    with contextlib.suppress(OSError):  # where memory runs out all the same, this goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    memory, cpu_s = int(task["memory_bytes"]), int(task["timeout_s"]) + _CPU_MARGIN_S
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (limit, limit))


def probe(task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    with opened(task) as (kind, container, stream):
        frame = next(container.decode(stream), None)
        if frame is None:
            raise Refused("the video has no frame")
        width, height = shown_size(frame, stream)
        seconds = length_of(container, stream)
        if seconds is not None and seconds > task["max_seconds"]:
            raise Refused(
                f"the video is {seconds:.0f} seconds long; allowed are {task['max_seconds']:g}"
            )
        answer = {
            "container": kind,
            "codec": stream.codec_context.name,
            "width": width,
            "height": height,
            "rotation": int(frame.rotation) % 360,
            "fps": round(float(stream.average_rate or stream.guessed_rate or 1), 4),
            "seconds": None if seconds is None else round(seconds, 3),
            "audio": bool(container.streams.audio),
        }
    return answer, b""


def frames(task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The frame that is shown at each of the times that are wanted, fitted and one behind another;
    the last one again where the film is over."""
    film, count = Film.model_validate(task["film"]), int(task["num_frames"])
    size = (int(task["size"][0]), int(task["size"][1]))
    wanted = [film.start_s + number / film.fps for number in range(count)]
    made: list[bytes] = []
    latest: VideoFrame | None = None
    end_s = 0.0
    with opened(task) as (_, container, stream):
        for until, frame in _timed(container, stream, film.start_s):
            latest, end_s = frame, until
            shown = sum(at < until - _EARLY_S for at in wanted[len(made) :])
            if shown:
                made += [_fit(frame, stream, film, size)] * shown
            if len(made) == count:
                return {"frames": count}, b"".join(made)
        if latest is None or end_s <= film.start_s:
            raise Refused(f"start_s: {film.start_s:g} is not in the video: it ends at {end_s:.2f}")
        _check_whole(end_s, min(wanted[-1], length_of(container, stream) or 0.0), stream)
        made += [_fit(latest, stream, film, size)] * (count - len(made))
    return {"frames": count}, b"".join(made)


def _check_whole(end_s: float, promised_s: float, stream: VideoStream) -> None:
    if promised_s - end_s > _FRAMES_SHORT / float(stream.average_rate or 1):
        raise Refused(f"the video is cut off: it ends after {end_s:.2f} seconds")


def _timed(
    container: InputContainer, stream: VideoStream, start_s: float
) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with the times until which each is shown."""
    first = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    usual = 1 / float(stream.average_rate or stream.guessed_rate or 1)
    if start_s > 1:  # to the key frame before; a file that cannot be searched is read through
        with contextlib.suppress(av.FFmpegError):
            container.seek(int((first + start_s) * av.time_base))
    at, before = 0.0, None
    for frame in container.decode(stream):
        at = at + usual if frame.time is None else frame.time - first
        if before is not None:
            yield at, before
        before = frame
    if before is not None:
        yield at + usual, before


def _fit(frame: VideoFrame, stream: VideoStream, film: Film, size: tuple[int, int]) -> bytes:
    picture = picture_of(frame, stream)
    placed = place(film.fit, picture.size, size)
    whole = placed.box == (0, 0, *picture.size) and placed.size == picture.size
    fitted = picture if whole else picture.resize(
        placed.size, Image.Resampling.LANCZOS, box=placed.box
    )  # fmt: skip
    if placed.size == size:
        return fitted.tobytes()
    canvas = Image.new("RGB", size)
    canvas.paste(fitted, placed.offset)
    return canvas.tobytes()


def picture_of(frame: VideoFrame, stream: VideoStream) -> Image.Image:
    """As a player shows it: square pixels, turned the right way up."""
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]  # PyAV's
    picture = image.resize(square_size(frame, stream))
    return picture.rotate(frame.rotation, expand=True) if frame.rotation % 360 else picture


def square_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    ratio = float(stream.codec_context.sample_aspect_ratio or 1)
    ratio = ratio if 1 / 16 <= ratio <= 16 else 1.0
    return max(1, round(frame.width * ratio)), frame.height


def shown_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    width, height = square_size(frame, stream)
    return (height, width) if frame.rotation % 180 else (width, height)


def length_of(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


@contextlib.contextmanager
def opened(task: dict[str, Any]) -> Iterator[tuple[str, InputContainer, VideoStream]]:
    """The file by its own format's demuxer, and its video."""
    with open(task["path"], "rb") as file:
        kind = kind_of(file.read(64))
    with av.open(task["path"], format=_DEMUXERS[kind]) as container:
        if not container.streams.video:
            raise Refused("the file has no video, only sound")
        stream = container.streams.video[0]
        context = stream.codec_context
        context.options = {"max_pixels": str(task["max_pixels"])}
        context.thread_count = 1
        if not context.width * context.height <= task["max_pixels"]:
            raise Refused(
                f"the video's frames are {context.width}x{context.height}; allowed are "
                f"{task['max_pixels']} pixels"
            )
        yield kind, container, stream


def kind_of(head: bytes) -> str:
    """The format by the file's first bytes: its name and its sender say nothing."""
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    raise Refused(f"the file is not a video of a kind that is read here; {ALLOWED}")


def sound(task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    with opened(task) as (_, container, _video):
        data = sound_of(container, float(task["start_s"]), float(task["seconds"]))
    return {"audio": data is not None}, data or b""


TASKS = {"probe": probe, "frames": frames, "sound": sound}


def _refuse(message: str) -> NoReturn:
    _write({"error": message}, b"")
    sys.exit(1)


def _write(answer: dict[str, Any], data: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
