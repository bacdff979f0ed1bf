"""Job records: what the service writes and the workers read, and their states."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.analyses import AnalysisSpec
from schemas.attention import CaptureSpec
from schemas.base import Frozen
from schemas.films.film import FittedFilm
from schemas.maps import Look, maps_folder
from schemas.recipes import Recipe

Status = Literal["queued", "in_progress", "completed", "failed"]
Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
JobKind = Literal["video", "map", "analysis"]


class JobSpec(Frozen):
    """What was accepted; it never changes. Times are Unix seconds.

    ``source_key``: the key of ``recipe`` itself (what a capture is stored under).
    ``edit_source_key``: the key of ``recipe.source``, None for a plain generation.
    ``source_video_id``: the video that was remixed, where the source was named by id;
    ``source_video_key``: its mp4 in the object store.
    ``start_timeout_s``: it fails unless a worker takes it up within so many seconds.
    ``film``: of an edit of an uploaded film, how that was made to fit. ``film_capture``: what of
    the film's attention is kept for later edits.
    ``picture_bytes``: of the pictures in its folder, which its runs start from; they count among
    the project's stored bytes as long as the job's record is there.
    ``look``: the job makes no video but the picture of a map of ``recipe``'s run: a map job, whose
    id begins with ``map_``, and which no route of videos knows.
    ``analysis``: the job makes no video but an analysis, of whose sources ``recipe`` is the first:
    its id begins with ``analysis_``. ``source_video_ids``: the video that each of its sources was
    named by, None where it was described.
    """

    id: str
    project: str
    recipe: Recipe
    source_key: str
    edit_source_key: str | None = None
    source_video_id: str | None = None
    source_video_key: str | None = None
    capture: CaptureSpec | None = None
    preview_every: Annotated[int, Field(ge=1)] | None = None
    priority: Priority = "normal"
    created_at: int
    retention_s: int | None = None
    webhook_url: str | None = None
    batch_id: str | None = None
    traceparent: str | None = None
    start_timeout_s: int | None = None
    picture_bytes: Annotated[int, Field(ge=0)] = 0
    look: Look | None = None
    analysis: AnalysisSpec | None = None
    source_video_ids: tuple[str | None, ...] = ()

    @property
    def kind(self) -> JobKind:
        if self.analysis is not None:
            return "analysis"
        return "video" if self.look is None else "map"

    @property
    def label(self) -> str:
        """What the job makes, in one word: for metrics and logs."""
        if self.analysis is not None:
            return f"analysis_{self.analysis.kind}"
        if self.look is not None:
            return "map"
        return "edit" if self.recipe.source else "generation"

    film: FittedFilm | None = None
    film_capture: CaptureSpec | None = None

    @property
    def folder(self) -> str:
        """The folder of every object that any attempt at this job wrote, without a final slash."""
        if self.analysis is not None:
            return f"analyses/{self.project}/{self.id}"
        if self.look is not None:
            return f"{maps_folder(self.project, self.look.artifact_id)}/{self.id}"
        return f"videos/{self.project}/{self.id}"

    def pictures(self) -> list[str]:
        """The names of what its runs start from, those of all sources' chains, each once."""
        recipes = (self.recipe,) if self.analysis is None else self.analysis.sources
        return list(dict.fromkeys(name for each in recipes for name in each.pictures()))

    def picture_key(self, name: str) -> str:
        """The object that holds, for this job, the picture of that name (``Picture.sha256``)."""
        return f"{self.folder}/pictures/{name}.png"


AttentionOrigin = Literal["none", "stored", "replayed"]


class EditMetrics(Frozen):
    """What an edit did to its source. None: the source's frames were not at hand, or (outside) the
    edit has no region.

    ``structure``: Pearson correlation of both videos' edges, 1 for the same shot.
    ``change_inside``: mean absolute difference from the source, of the full range of values (0 to
    1), in the region, or in all of the picture. ``outside_psnr_db``: PSNR outside the region,
    before encoding; 100 is equal to the bit. ``tokens_computed``: share of the tokens that went
    through the blocks at the computed steps. ``passes``: of the transformer, over one video and
    branch. ``text_agreement``: mean cosine of frames and the edit's prompt in CLIP's space, -1 to
    1; None: the worker has no CLIP model.
    """

    structure: float | None = None
    change_inside: float | None = None
    outside_psnr_db: float | None = None
    text_agreement: float | None = None
    tokens_computed: float
    passes: float


class JobResult(Frozen):
    """What a completed job left. Keys are object-store keys that contain the fence.

    ``cost``: passes of the transformer over those of a plain generation; None: not counted.
    ``not_kept``: why there is no ``artifact_key``, though the job was to keep its attention.
    ``prompt_truncated``: whether the model's tokenizer cut the prompt; None: not known.
    ``region_key``: of an edit with a region, the picture of what was used. ``metrics``: of an edit.
    """

    video_key: str
    thumbnail_key: str
    spritesheet_key: str
    size_bytes: int
    artifact_key: str | None = None
    not_kept: str | None = None
    attention: AttentionOrigin = "none"
    cost: float | None = None
    prompt_truncated: bool | None = None
    region_key: str | None = None
    metrics: EditMetrics | None = None
    seconds: float = 0.0


class MapResult(Frozen):
    """What a completed map job left, under a key that contains the fence."""

    map_key: str
    seconds: float = 0.0


class AnalysisFiles(Frozen):
    """What a completed analysis left, under keys that contain the fence. ``figures``: the keys of
    PNGs, by name. ``size_bytes``: of all files. ``stored_sources``: which of its sources (their
    places) were read from stored attention instead of run."""

    result_key: str
    report_key: str
    figures: Mapping[str, str]
    size_bytes: int
    stored_sources: tuple[int, ...] = ()
    seconds: float = 0.0


class JobError(Frozen):
    """Why a job failed: a stable code and a sentence for the client."""

    code: str
    message: str


class JobState(Frozen):
    """What changes while a job lives. ``fence`` grows with each claim; only the newest writes.

    A completed job has a ``result``, a completed map job a ``map``, a completed analysis its
    ``analysis``. ``end_event``: the id of the last event of an ended job, which is known for longer
    than the event is kept.
    """

    status: Status = "queued"
    step: int = 0
    total_steps: int = 0
    fence: int = 0
    attempts: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    started_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None
    result: JobResult | None = None
    map: MapResult | None = None
    analysis: AnalysisFiles | None = None
    error: JobError | None = None
    end_event: str | None = None


class Job(Frozen):
    """A job as read from the store."""

    spec: JobSpec
    state: JobState


class Event(Frozen):
    """One entry of a job's event stream; ``id`` is the stream id, used as SSE ``id``."""

    id: str
    type: Literal["queued", "started", "progress", "preview", "completed", "failed"]
    data: dict[str, object]

    @property
    def at_ms(self) -> int:
        """When it was written, in ms since 1970 by Redis' clock: the first part of a stream id."""
        return int(self.id.partition("-")[0])
