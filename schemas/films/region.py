"""Where an edit may change its source: as a request says it, and as a recipe holds it.

Lengths are pixels of the video, frames are numbered from 0.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Frozen, OneError
from schemas.films.film import Sha256

MAX_BOXES = 256
Pixels = Annotated[int, Field(ge=0, le=512)]
Place = Annotated[int, Field(ge=0, le=100_000)]
RegionKind = Literal["mask", "boxes", "auto", "word"]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
Side = Annotated[int, Field(ge=1, le=100_000)]


class Box(Frozen):
    """``frames``: the first and the last that it is in; None: all."""

    x: Place
    y: Place
    width: Side
    height: Side
    frames: Annotated[tuple[Place, Place], OneError()] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.frames is not None and self.frames[0] > self.frames[1]:
            raise ValueError(f"frames: the first, {self.frames[0]}, is behind {self.frames[1]}")
        return self


Boxes = Annotated[tuple[Box, ...], Field(min_length=1, max_length=MAX_BOXES), OneError()]


class RegionInput(Frozen):
    """Where an edit may change its source, said in one of five ways.

    ``image_url`` holds a mask: a picture for all frames, or a video, fitted as the source is. White
    is edited. ``id`` names an upload that is one. ``boxes`` are edited together. ``auto``:
    where the model itself would change the most; ``"auto"`` alone says the same. ``word``: of the
    source's prompt, where the source's run looked at it.
    ``growth`` widens all of these by so many pixels; over ``softness`` more the edit fades out.
    """

    image_url: Annotated[
        str,
        Field(
            min_length=1,
            description="A data URL of a PNG, JPEG or WebP picture, or of a short mask video",
            examples=["data:image/png;base64,iVBORw0KGgo="],
        ),
    ] | None = None  # fmt: skip
    id: Annotated[str, Field(pattern=r"^upload_[0-9a-f]{40}$")] | None = None
    boxes: Boxes | None = None
    auto: Literal[True] | None = None
    word: Words | None = None
    growth: Pixels = 0
    softness: Pixels = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = ("image_url", "id", "boxes", "auto", "word")
        if sum(getattr(self, name) is not None for name in ways) != 1:
            raise ValueError("say where by one of image_url, id, boxes, auto and word")
        return self

    @property
    def kind(self) -> RegionKind:
        if self.auto:
            return "auto"
        if self.word is not None:
            return "word"
        return "mask" if self.boxes is None else "boxes"


RegionOrAuto = RegionInput | Literal["auto"]


class EditRegion(Frozen):
    """``mask``: the frames in which white may change, by content (``recipes.pixels_hash``); None:
    the run finds them itself, by ``word`` where there is one."""

    mask: Sha256 | None
    word: Words | None = None
    growth: Pixels = 0
    softness: Pixels = 0


def word_places(prompt: str, word: str) -> list[tuple[int, int]]:
    """Where ``word``, or words, stands whole in ``prompt``: from and to which character. Capitals
    are as small letters, any white space is a space."""
    parts = r"\s+".join(re.escape(part) for part in word.split())
    found = re.finditer(rf"(?<!\w){parts}(?!\w)", prompt, re.IGNORECASE)
    return [each.span() for each in found]
