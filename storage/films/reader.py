"""What is in an uploaded file, and its frames: asked of a child process, which the file may hurt.

The child (``storage.films.child``) has limits on memory and CPU time, none of our secrets in its
environment, and is killed when its time is over. It reads one local file, opens nothing that the
file refers to, and answers on its standard output: one line of JSON, then bytes.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pydantic import Field

from schemas.base import Frozen
from schemas.errors import FilmUnreadable
from schemas.films.film import Film, FilmInfo
from storage.films.sound import CHANNELS, RATE, SAMPLE_BYTES

_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "LANG")
_LINE_BYTES = 64 << 10  # the longest line of JSON
_UNREADABLE = "the video cannot be read: it is damaged"


class FilmLimits(Frozen):
    """How much one file may cost. Sizes in bytes, times in seconds."""

    memory_bytes: int = Field(
        1 << 30, ge=1 << 28, description="Address space of the process that reads a video."
    )
    timeout_s: float = Field(60, gt=0, description="How long reading one video may take.")
    max_pixels: int = Field(
        8192 * 4320, ge=1, description="The most pixels that one frame of a video may have."
    )
    max_seconds: float = Field(
        4 * 3600, gt=0, description="The longest video, in seconds of its own time."
    )


def probe(path: Path, limits: FilmLimits) -> FilmInfo:
    """What the file at ``path`` is; its first frame was decoded. Raises FilmUnreadable, which says
    what is wrong with it."""
    answer, _ = _ask({"task": "probe", "path": str(path)}, limits, 0)
    return FilmInfo.model_validate(answer)


def read_frames(
    path: Path, film: Film, size: tuple[int, int], num_frames: int, limits: FilmLimits
) -> bytes:
    """``num_frames`` frames of ``size`` (width, height), RGB, row by row. Raises FilmUnreadable."""
    width, height = size
    task = {
        "task": "frames",
        "path": str(path),
        "film": film.model_dump(mode="json"),
        "size": size,
        "num_frames": num_frames,
    }
    _, data = _ask(task, limits, width * height * 3 * num_frames)
    return data


def read_sound(path: Path, start_s: float, seconds: float, limits: FilmLimits) -> bytes | None:
    """That part of the file's sound, samples as ``storage.films.sound`` makes them; None: it has
    none. Raises FilmUnreadable."""
    task = {"task": "sound", "path": str(path), "start_s": start_s, "seconds": seconds}
    size_bytes = round(seconds * RATE) * CHANNELS * SAMPLE_BYTES
    answer, data = _ask(task, limits, size_bytes, exact=False)
    return data if answer["audio"] else None


def _ask(
    task: dict[str, Any], limits: FilmLimits, size_bytes: int, *, exact: bool = True
) -> tuple[dict[str, Any], bytes]:
    """The child's line of JSON, and the ``size_bytes`` (at most, unless ``exact``) behind it."""
    root = str(Path(__file__).parents[2])  # where schemas and storage lie
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "storage.films.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    ) as child:
        timer = threading.Timer(limits.timeout_s, child.kill)
        timer.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps({**task, **limits.model_dump()}).encode())
            child.stdin.close()
            line = child.stdout.readline(_LINE_BYTES)
            data = child.stdout.read(size_bytes) if size_bytes else b""
        except BrokenPipeError:
            line = data = b""
        finally:
            late = not timer.is_alive()
            timer.cancel()
            child.kill()  # whatever it does now is of no use
    answer = _answer_of(line)
    if late:
        raise FilmUnreadable(
            f"the video takes longer to read than the {limits.timeout_s:g} seconds allowed"
        )
    if "error" in answer:
        raise FilmUnreadable(str(answer["error"])[:500])
    if not answer or (exact and len(data) < size_bytes):
        raise FilmUnreadable(
            f"{_UNREADABLE}, or needs more than the {limits.memory_bytes >> 20} MiB of memory that "
            "reading one may take"
        )
    return answer, data


def _answer_of(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
