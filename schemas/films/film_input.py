"""How a request names the film of a run: an upload, what it shows, and which part of it is used."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Frozen, Prompt
from schemas.films.film import Fit, StartS

SourceId = Annotated[str, Field(pattern=r"^(video_[0-9a-zA-Z]{8,64}|upload_[0-9a-f]{40})$")]


class SourceOrUpload(Frozen):
    """A video of the project, or a file that was uploaded."""

    id: SourceId

    @property
    def is_upload(self) -> bool:
        return self.id.startswith("upload_")


class FilmInput(Frozen):
    """What a run is of. Of an uploaded film ``source_prompt`` says what it shows, ``fit`` crops it
    or puts bars around it, ``start_s`` is where the part that is used begins."""

    video: SourceOrUpload | None = None
    source_prompt: Prompt | None = None
    fit: Fit | None = None
    start_s: StartS | None = None

    @model_validator(mode="after")
    def _said_of_a_film(self) -> Self:
        if self.video is not None and self.video.is_upload:
            if self.source_prompt is None:
                raise ValueError(
                    "source_prompt is required with an uploaded video: say what it shows, as in "
                    "'A car is driving on the highway.'"
                )
            return self
        for name in ("source_prompt", "fit", "start_s"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for uploaded videos only; leave it out")
        return self
