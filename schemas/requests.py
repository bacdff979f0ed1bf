"""Request bodies of the HTTP API, before defaults are filled in from a model's card."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from schemas.analyses import MAX_SOURCES, AnalysisChoices, AnalysisSpec
from schemas.attention import CaptureSpec, StepCache, TransferSpec
from schemas.base import AnyText, Frozen, LoraScale, OneError, Prompt, Seed
from schemas.films.film_input import FilmInput
from schemas.films.region import RegionOrAuto
from schemas.films.upload import UploadId
from schemas.jobs import Priority
from schemas.recipes import PictureFit, Recipe

Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$", examples=["96x64"])]
SECONDS = r"^[0-9]{1,6}(\.[0-9]{1,12})?$"


def _as_text(value: object) -> object:
    """A JSON number as the string that this dialect writes for it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(value) if isinstance(value, int) else f"{value:.12f}".rstrip("0").rstrip(".")


Seconds = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(pattern=SECONDS, examples=["2"]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": SECONDS},
                {"type": "number", "minimum": 0, "maximum": 999_999},
            ],
            "examples": ["2", 2],
        }
    ),
]


# what a model allows is narrower, and its card's to say: a bound here would hide it
Count = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, json_schema_extra={"minimum": 1})]
Guidance = Annotated[float, Field(allow_inf_nan=False, json_schema_extra={"minimum": 0})]
ModelId = Annotated[str, Field(min_length=1, max_length=64)]
VideoId = Annotated[str, Field(pattern=r"^video_[0-9a-zA-Z]{8,64}$")]


class Settings(Frozen):
    """What may be said of a run; None takes the model's default.

    Length is ``num_frames``, or ``seconds`` (frames are then the nearest that the model can do).
    ``guidance_scale_2``: at low noise, where the model has an expert of its own for it.
    ``step_cache``: of a generation; an edit computes little enough without one.
    """

    model: ModelId | None = None
    negative_prompt: AnyText | None = None
    seed: Seed | None = None
    size: Size | None = None
    seconds: Seconds | None = None
    num_frames: Count | None = None
    fps: Count | None = None
    num_inference_steps: Count | None = None
    guidance_scale: Guidance | None = None
    guidance_scale_2: Guidance | None = None
    loras: Annotated[tuple[tuple[str, LoraScale], ...], Field(max_length=4), OneError()] | None = (
        None
    )
    step_cache: StepCache | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.seconds is not None and self.num_frames is not None:
            raise ValueError("give seconds or num_frames, not both")
        return self


class InputReference(Frozen):
    """A picture in JSON: one of the two. In a form it may be a file named ``input_reference``."""

    image_url: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A data URL of a PNG, JPEG or WebP picture; or the address of one, on a "
            "host that the server's operator allows",
            examples=["data:image/png;base64,iVBORw0KGgo="],
        ),
    ] = None
    file_id: Annotated[UploadId | None, Field(description="The id of an uploaded picture")] = None

    @model_validator(mode="after")
    def _one_picture(self) -> Self:
        if (self.image_url is None) == (self.file_id is None):
            raise ValueError("give image_url or file_id, one of the two")
        return self


class PictureInput(Frozen):
    """The picture that a video starts from. An edit without one keeps its source's.

    ``input_reference_fit``: how it is brought to the video's size. ``crop`` (left out) cuts off
    what is too long, ``pad`` adds black bars, ``stretch`` changes its shape.
    """

    input_reference: InputReference | None = None
    input_reference_fit: PictureFit | None = None

    @model_validator(mode="after")
    def _fits_something(self) -> Self:
        if self.input_reference_fit is not None and self.input_reference is None:
            raise ValueError("input_reference_fit needs an input_reference")
        return self


class JobOptions(Frozen):
    """What concerns the job rather than the video. ``capture`` true: the server's default.

    ``start_timeout_s``: the job fails with ``start_timeout`` unless a worker takes it up within so
    many seconds; None: it waits as long as it must.
    """

    capture: bool | CaptureSpec | None = None
    priority: Priority = "normal"
    preview_every: Annotated[int, Field(ge=1, le=1000)] | None = None
    webhook_url: Annotated[str, Field(max_length=2048)] | None = None
    start_timeout_s: Annotated[int, Field(ge=1, le=7 * 86400)] | None = None


class CreateVideo(Settings, PictureInput, JobOptions):
    """``POST /v1/videos``."""

    prompt: Prompt


class SourceById(Frozen):
    id: VideoId


class SourceByPrompt(Settings, PictureInput):
    """A source named by what makes it: prompt and seed (and settings), stored or not.

    ``seed`` has no default here: without it the source would be another video.
    """

    prompt: Prompt
    seed: Seed


class RemixVideo(PictureInput, JobOptions):
    """``POST /v1/videos/{id}/remix``: the path names the source. ``region``: the part of it that
    may change; None: any."""

    prompt: Prompt
    negative_prompt: AnyText | None = None
    guidance_scale: Guidance | None = None
    guidance_scale_2: Guidance | None = None
    fps: Count | None = None
    transfer: TransferSpec | None = None
    region: RegionOrAuto | None = None


class EditVideo(Settings, FilmInput, PictureInput, JobOptions):
    """``POST /v1/videos/edits``: exactly one of ``video`` and ``source`` names the source.

    The settings that an edit shares with its source may be repeated, but must agree with it. Of an
    uploaded film they say what it is fitted to. ``region``: the part of the source that may change;
    None: any.
    """

    prompt: Prompt
    source: SourceByPrompt | None = None
    transfer: TransferSpec | None = None
    region: RegionOrAuto | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.video is None) == (self.source is None):
            raise ValueError("name the source by video.id or by source.prompt and source.seed")
        return self


class BatchEdit(JobOptions):
    """``POST /v1/videos/{id}/edits``: many edits of one source; each read of it is shared."""

    edits: Annotated[tuple[RemixVideo, ...], Field(min_length=1, max_length=64), OneError()]


class EstimateAttention(Settings):
    """``POST /v1/attention/estimate``: of a generation as described, or of a video there is.

    Without ``capture`` the server's default is estimated.
    """

    prompt: Prompt | None = None
    video: SourceById | None = None
    capture: CaptureSpec | None = None
    transfer: TransferSpec | None = None


class AnalysedSource(Settings, FilmInput, PictureInput):
    """One run: a video named by ``id``, or what makes one, which need not exist.

    With ``video`` or ``source`` it is an edit of that, by ``transfer``; its seed and the other
    settings are then its source's. Without, ``seed`` has no default: the run would be another.
    An uploaded film as ``video`` without a ``prompt`` is itself the run.
    """

    id: VideoId | None = None
    prompt: Prompt | None = None
    seed: Seed | None = None
    source: SourceByPrompt | None = None
    transfer: TransferSpec | None = None

    @model_validator(mode="after")
    def _one_run(self) -> Self:
        if self.id is not None:
            more = sorted(self.model_fields_set - {"id"})
            if more:
                raise ValueError(f"{more[0]} does not go with id: the video has its settings")
            return self
        if self.video is not None and self.source is not None:
            raise ValueError("an edit has one source: give video or source, not both")
        if self.prompt is None:
            return self._film_itself()
        edited = self.video is not None or self.source is not None
        if self.transfer is not None and not edited:
            raise ValueError("transfer is of an edit: name its source by video or source")
        if self.seed is None and not edited:
            raise ValueError("seed is required: another one makes another run")
        return self

    def _film_itself(self) -> Self:
        if self.video is None or not self.video.is_upload:
            raise ValueError(
                "name a video by id, or a run by prompt and seed, or an uploaded one by video.id "
                "and source_prompt"
            )
        for name in ("transfer", "input_reference", "step_cache"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is not of an uploaded video: give the prompt of an edit")
        return self


class CreateAnalysis(AnalysisChoices):
    """``POST /v1/attention/analyses``, and ``/estimate`` below it."""

    sources: Annotated[
        tuple[AnalysedSource, ...], Field(min_length=1, max_length=MAX_SOURCES), OneError()
    ]
    priority: Priority = "normal"
    webhook_url: Annotated[str, Field(max_length=2048)] | None = None

    def spec_of(self, sources: tuple[Recipe, ...]) -> AnalysisSpec:
        choices = {name: getattr(self, name) for name in AnalysisChoices.model_fields}
        return AnalysisSpec(sources=sources, **choices)
