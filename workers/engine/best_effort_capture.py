"""A job's captured attention, from its first tensor to its manifest, or to nothing."""

import logging
import time

from torch import Tensor

from schemas.capture_plan import CapturePlan
from schemas.errors import ArtifactWriteFailed
from schemas.jobs import JobSpec
from schemas.resolve_capture import resolve_capture
from workers.artifacts.store import ArtifactStore
from workers.artifacts.write.writer import ArtifactWriter
from workers.attention.maps import Address
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")


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
            except ArtifactWriteFailed as error:
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

    def _give_up(self, error: ArtifactWriteFailed) -> None:
        log.error("job=%s attention not kept: %s", self._video_id, error.message)
        self.failure = error.message
        self._writer.abort()


def open_capture(
    artifacts: ArtifactStore, model: LoadedModel, spec: JobSpec
) -> BestEffortCapture | None:
    """What the job is to keep of its attention; None: nothing."""
    if spec.capture is None:
        return None
    generation, ttl_s = spec.recipe.generation, spec.capture.ttl_s
    plan = resolve_capture(spec.capture, model.card, spec.recipe)
    writer = artifacts.open_writer(
        project=spec.project,
        recipe=spec.recipe,
        plan=plan,
        grid=model.card.grid.tokens(generation.width, generation.height, generation.num_frames),
        expires_at=None if ttl_s is None else int(time.time()) + ttl_s,
        video_id=spec.id,
    )
    return BestEffortCapture(plan, writer, spec.id)
