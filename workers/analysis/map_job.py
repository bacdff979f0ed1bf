"""A map job's picture: out of the artifact that it names where that holds the map, else with the
video made again up to the step."""

import logging
import time

from schemas.errors import Unsupported
from schemas.jobs import JobSpec
from schemas.maps import STORED_FORMS, Look
from workers.analysis.heatmap import picture
from workers.analysis.render_map import needed_for, render_map
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.attention.transfer import StoredAttention
from workers.control.engine_protocol import OnStep
from workers.generation.denoise import StepInfo
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")


def run_map_job(
    model: LoadedModel, artifacts: ArtifactStore, spec: JobSpec, on_step: OnStep
) -> bytes:
    """The PNG that the map job ``spec`` asks for. ``on_step(done, total)`` counts the steps that
    are run for it. Raises as ``render_map`` does."""
    look = spec.look
    assert look is not None
    if model.group is not None:
        raise Unsupported(
            f"model: the maps of {model.card.id!r} are not shown: it is spread over several ranks",
            param="model",
        )
    reader = _open(model, artifacts, spec, look)
    if reader is not None:
        try:
            with reader:
                return _draw_from(model, spec, look, on_step, reader)
        except UNREADABLE as error:
            if not spec.recipe.is_plain:
                raise  # maps of an edit, or of an uploaded film, cannot be made again
            log.warning("job=%s attention unreadable (%s)", spec.id, type(error).__name__)
    return _draw_from(model, spec, look, on_step, None)


def _draw_from(
    model: LoadedModel,
    spec: JobSpec,
    look: Look,
    on_step: OnStep,
    reader: ArtifactReader | None,
) -> bytes:
    def after_step(info: StepInfo) -> None:
        on_step(info.step + 1, info.total)

    pooled = render_map(
        model,
        spec.recipe,
        look.view.place,
        bins=look.view.bins,
        stored=StoredAttention(reader.manifest.plan, reader) if reader else None,
        on_step=after_step,
    )
    return picture(pooled)


def _open(
    model: LoadedModel, artifacts: ArtifactStore, spec: JobSpec, look: Look
) -> ArtifactReader | None:
    """A reader of the artifact, None where it cannot show the map or is not there."""
    needed = needed_for(look.view.place)
    try:
        manifest = artifacts.named(spec.project, look.artifact_id)
        if (
            manifest is None
            or manifest.form not in STORED_FORMS
            or not manifest.covers(needed)
            or manifest.expired(time.time())
        ):
            return None
        # no video uses it: what the index lists as its videos are videos
        return artifacts.open_reader(manifest, needed, model.pipeline._execution_device)
    except UNREADABLE as error:
        if not spec.recipe.is_plain:
            raise
        log.warning("job=%s no attention found: %s", spec.id, type(error).__name__)
        return None
