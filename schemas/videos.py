"""The Video object and its neighbours, as the OpenAI SDK reads them, with our own fields beside."""

from typing import Literal

from schemas.attention import StepCache, TransferSpec
from schemas.base import Frozen
from schemas.films.film import FittedFilm
from schemas.films.region import EditRegion
from schemas.jobs import AttentionOrigin, EditMetrics, Job, JobError, Status
from schemas.recipes import Picture

NOTHING_TO_KEEP = (
    "capture was false, or was left to the server, which keeps none or has no form within its limit"
)


class Video(Frozen):
    """``object: "video"``. Times are Unix seconds; ``seconds`` is a string in this dialect.

    Fields from ``seed`` on are ours; the SDK keeps them as extras (``video.seed``).
    ``attention``: how an edit got its source's maps; ``source_key``: the artifact's name.
    ``attention_kept``: whether the video's own attention is stored for edits of it, None until it
    is completed; where it is not, ``attention_not_kept`` says why. ``cost``: passes of the
    transformer that it took, over those of a plain generation. ``queue_position``: of a queued one,
    1 for the next of its priority.
    ``metrics``: of a completed edit, what it did to its source.
    ``prompt_truncated``: the prompt had more tokens than the model reads.
    ``film``: of an edit of an uploaded film, how that was made to fit.
    ``region``: where an edit may differ from its source, its mask named by content; None: anywhere.
    ``input_reference``: the picture that it starts from, by its content, and how it was fitted.
    """

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: str | None
    error: JobError | None
    seed: int
    negative_prompt: str
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    guidance_scale_2: float | None
    loras: tuple[tuple[str, float], ...]
    step_cache: StepCache | None
    input_reference: Picture | None
    transfer: TransferSpec | None
    region: EditRegion | None
    source_key: str
    attention: AttentionOrigin | None
    attention_kept: bool | None
    attention_not_kept: str | None
    cost: float | None
    metrics: EditMetrics | None
    prompt_truncated: bool | None
    queue_position: int | None
    film: FittedFilm | None


class VideoList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[Video, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(Frozen):
    id: str
    deleted: Literal[True] = True
    object: Literal["video.deleted"] = "video.deleted"


def video_of(job: Job, queue_position: int | None = None) -> Video:
    """The client's view of a job."""
    generation, state = job.spec.recipe.generation, job.state
    return Video(
        id=job.spec.id,
        model=generation.model,
        status=state.status,
        progress=progress_of(job),
        created_at=job.spec.created_at,
        completed_at=state.completed_at,
        expires_at=state.expires_at,
        prompt=generation.prompt,
        seconds=f"{generation.num_frames / generation.fps:g}",
        size=generation.size,
        remixed_from_video_id=job.spec.source_video_id,
        error=state.error,
        seed=generation.seed,
        negative_prompt=generation.negative_prompt,
        num_frames=generation.num_frames,
        fps=generation.fps,
        num_inference_steps=generation.num_inference_steps,
        guidance_scale=generation.guidance_scale,
        guidance_scale_2=generation.guidance_scale_2,
        loras=generation.loras,
        step_cache=generation.step_cache,
        input_reference=generation.picture,
        transfer=job.spec.recipe.transfer,
        region=job.spec.recipe.region,
        source_key=job.spec.source_key,
        attention=state.result.attention if state.result else None,
        attention_kept=state.result.artifact_key is not None if state.result else None,
        attention_not_kept=_not_kept(job),
        cost=state.result.cost if state.result else None,
        metrics=state.result.metrics if state.result else None,
        prompt_truncated=state.result.prompt_truncated if state.result else None,
        queue_position=queue_position,
        film=job.spec.film,
    )


def progress_of(job: Job) -> int:
    """Of a job of any kind, in percent."""
    if job.state.status == "completed":
        return 100
    return min(99, 100 * job.state.step // max(1, job.state.total_steps))


def _not_kept(job: Job) -> str | None:
    """Why a completed video's attention is not stored."""
    result = job.state.result
    if result is None or result.artifact_key is not None:
        return None
    return NOTHING_TO_KEEP if job.spec.capture is None else result.not_kept
