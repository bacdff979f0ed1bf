"""A job's captured attention, from its first tensor to its manifest, or to nothing."""

import logging
import time

from torch import Tensor

from schemas.capture_plan import CapturePlan, Needed
from schemas.errors import ArtifactWriteFailed
from schemas.jobs import JobSpec
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from workers.artifacts.store import ArtifactStore
from workers.artifacts.write.writer import ArtifactWriter
from workers.attention.maps import Address
from workers.control.failure_policy import is_out_of_memory
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")

NO_MEMORY = "the device had no memory for it beside the video"
MISSED = "the model's steps were not those of its settings"


class BestEffortCapture:
    """A MapSink into the store; what fails there is lost, not the video."""

    def __init__(self, plan: CapturePlan, writer: ArtifactWriter, video_id: str) -> None:
        self.plan = plan
        self._writer, self._video_id = writer, video_id
        self.failure: str | None = None

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        if self.failure is None:
            try:
                self._writer.put(address, name, tensor)
            except Exception as error:
                if not isinstance(error, ArtifactWriteFailed) and not is_out_of_memory(error):
                    raise
                self._give_up(error)

    def publish(self) -> str | None:
        if self.failure is None:
            try:
                return self._writer.commit().key
            except ArtifactWriteFailed as error:
                self._give_up(error)
        return None

    def discard(self) -> None:
        self._writer.abort()

    def _give_up(self, error: Exception) -> None:
        log.error("job=%s attention not kept: %s", self._video_id, error)
        ours = isinstance(error, ArtifactWriteFailed)
        self.failure = str(error) if ours else NO_MEMORY
        self._writer.abort()


def open_capture(
    artifacts: ArtifactStore, model: LoadedModel, spec: JobSpec
) -> BestEffortCapture | None:
    """What the job is to keep of its attention; None: nothing."""
    if spec.capture is None:
        return None
    plan = resolve_capture(spec.capture, model.card, spec.recipe)
    return _open(artifacts, model, spec, spec.recipe, plan, spec.capture.ttl_s)


def open_film_capture(
    artifacts: ArtifactStore, model: LoadedModel, spec: JobSpec, needed: Needed
) -> BestEffortCapture | None:
    """What is to be kept of the uploaded film that the job edits: what was asked for, and what this
    edit needs itself; None: nothing."""
    source, asked = spec.recipe.source, spec.film_capture
    if source is None or source.film is None or asked is None:
        return None
    plan = resolve_capture(asked, model.card, source)
    layers, steps = needed.layers | {*plan.layers}, needed.computed_steps | {*plan.steps}
    both = {"layers": tuple(sorted(layers)), "steps": tuple(sorted(steps))}
    return _open(artifacts, model, spec, source, plan.model_copy(update=both), asked.ttl_s)


def _open(
    artifacts: ArtifactStore,
    model: LoadedModel,
    spec: JobSpec,
    recipe: Recipe,
    plan: CapturePlan,
    ttl_s: int | None,
) -> BestEffortCapture:
    generation = recipe.generation
    writer = artifacts.open_writer(
        project=spec.project,
        recipe=recipe,
        plan=plan,
        grid=model.card.grid.tokens(generation.width, generation.height, generation.num_frames),
        expires_at=None if ttl_s is None else int(time.time()) + ttl_s,
        video_id=spec.id,
    )
    return BestEffortCapture(plan, writer, spec.id)
