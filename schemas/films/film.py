"""Uploaded films: what was found in a file, and how it is fitted to what a model makes.

Times are seconds from the film's first frame; sizes are pixels as a player shows them, after
rotation.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from schemas.base import Frozen

Fit = Literal["crop", "pad"]
StartS = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FilmInfo(Frozen):
    """What a file holds. ``seconds`` None: it does not say how long it is.

    ``rotation``: degrees counter-clockwise by which its frames are turned before they are shown.
    """

    container: Literal["mp4", "webm", "gif"]
    codec: str
    width: int
    height: int
    rotation: int
    fps: float
    seconds: float | None
    audio: bool


class Film(Frozen):
    """The frames that a source is made of: ``fps`` of them a second from ``start_s`` on.

    ``audio``: whether the file has sound as well.
    """

    sha256: Sha256
    fit: Fit = "crop"
    fps: int
    start_s: StartS = 0.0
    audio: bool = False


class FittedFilm(Frozen):
    """How an uploaded film was made to fit, as a video says it.

    ``size``, ``fps``, ``seconds``: the film's own. ``taken``: the part of each of its frames that
    is used, as [left, top, width, height]. ``bars``: what is left black on either side of the
    picture, as [left, top]. ``from_s``, ``to_s``: the part of its time. ``repeated_frames``: how
    often its last frame is repeated, because the film is too short.
    """

    upload_id: str
    source_prompt: str
    fit: Fit
    size: str
    fps: float
    seconds: float | None
    taken: tuple[int, int, int, int]
    bars: tuple[int, int]
    from_s: float
    to_s: float
    repeated_frames: int


class Placement(NamedTuple):
    """``box``: (left, top, right, bottom) of the film's frame; ``size``, ``offset``: where it goes
    in the model's."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    offset: tuple[int, int]


def place(fit: Fit, film: tuple[int, int], model: tuple[int, int]) -> Placement:
    """A film's frame (width, height) put into the model's: its middle, or all of it with bars."""
    (width, height), (to_width, to_height) = film, model
    if fit == "pad":
        scale = min(to_width / width, to_height / height)
        size = (
            min(to_width, max(1, round(width * scale))),
            min(to_height, max(1, round(height * scale))),
        )
        offset = ((to_width - size[0]) // 2, (to_height - size[1]) // 2)
        return Placement((0, 0, width, height), size, offset)
    scale = max(to_width / width, to_height / height)
    kept_width = min(width, max(1, round(to_width / scale)))
    kept_height = min(height, max(1, round(to_height / scale)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return Placement((left, top, left + kept_width, top + kept_height), model, (0, 0))


def frames_left(info: FilmInfo, film_fps: int, start_s: float) -> int | None:
    """How many frames a second apart by ``film_fps`` there are from ``start_s`` on; None: not
    known."""
    if info.seconds is None:
        return None
    return max(0, round((info.seconds - start_s) * film_fps))


def fitted(
    info: FilmInfo,
    film: Film,
    *,
    size: tuple[int, int],
    num_frames: int,
    upload_id: str,
    source_prompt: str,
) -> FittedFilm:
    """How ``film``'s file becomes ``num_frames`` frames of ``size``."""
    placed = place(film.fit, (info.width, info.height), size)
    left, top, right, bottom = placed.box
    there = frames_left(info, film.fps, film.start_s)
    used = num_frames if there is None else min(num_frames, max(1, there))
    return FittedFilm(
        upload_id=upload_id,
        source_prompt=source_prompt,
        fit=film.fit,
        size=f"{info.width}x{info.height}",
        fps=info.fps,
        seconds=info.seconds,
        taken=(left, top, right - left, bottom - top),
        bars=placed.offset,
        from_s=film.start_s,
        to_s=round(film.start_s + used / film.fps, 3),
        repeated_frames=num_frames - used,
    )
