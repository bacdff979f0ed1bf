"""The engine that serves: diffusers pipelines, fed from and captured to the artifact store.

A stored artifact is a cache: where it is missing, damaged or out of reach, the source is replayed
in the same job, and where a capture cannot be stored, the video is made without it.
"""

import gc
import logging
import os
import time
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from schemas.artifacts import Needed
from schemas.errors import ArtifactWriteFailed, Unsupported
from schemas.jobs import Job, JobSpec
from schemas.models import ModelCard
from schemas.selection import resolve_capture, resolve_transfer
from storage.objects import ObjectStore
from workers.analysis.draw import draw
from workers.artifacts.reader import ArtifactReader
from workers.artifacts.register import Register
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.artifacts.writer import ArtifactWriter
from workers.attention.edit import capture_into
from workers.attention.maps import Address
from workers.attention.run import Capture
from workers.generate import OnStep as OnStepInfo
from workers.generate import StepInfo, generate
from workers.journal import Journal, journals_folder
from workers.pipelines import LoadedModel, load_model
from workers.previews.previewer import Previews
from workers.run_job import Film, OnPreview, OnStep
from workers.settings import WorkerSettings

log = logging.getLogger("retake.worker")

_HELD = 256  # sources that are reported to the router


class KeptAttention:
    """A capture on its way into the store; what fails there is lost, not the video."""

    def __init__(self, writer: ArtifactWriter, video_id: str) -> None:
        self._writer, self._video_id = writer, video_id
        self._failed = False

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        if not self._failed:
            try:
                self._writer.put(address, name, tensor)
            except ArtifactWriteFailed as error:
                self._give_up(error)

    def publish(self) -> str | None:
        if not self._failed:
            try:
                return self._writer.commit().key
            except ArtifactWriteFailed as error:
                self._give_up(error)
        return None

    def discard(self) -> None:
        self._writer.abort()

    def _give_up(self, error: ArtifactWriteFailed) -> None:
        log.error("job=%s attention not kept: %s", self._video_id, error.message)
        self._failed = True
        self._writer.abort()


class PipelineEngine:
    """Loads every model of the settings; one job at a time, from one thread at a time."""

    def __init__(self, settings: WorkerSettings, objects: ObjectStore) -> None:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(settings.threads or max(1, cores // settings.most_replicas))
        self._settings, self._objects = settings, objects
        self._models = {model.id: load_model(model) for model in settings.models}
        self._previews = {id: Previews(model) for id, model in self._models.items()}
        self._register = Register(settings.storage)
        self._artifacts = ArtifactStore(objects, settings.artifacts, self._register)
        self._held: OrderedDict[str, None] = OrderedDict()

    def cards(self) -> list[ModelCard]:
        return [model.card for model in self._models.values()]

    def held_sources(self) -> list[str]:
        return list(self._held)

    def check_health(self) -> None:
        """A device whose context is broken (an illegal access, a lost card) fails every call."""
        if torch.cuda.is_available():
            torch.cuda.current_stream().query()  # raises without waiting

    def free_memory(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def forget(self, spec: JobSpec) -> None:
        self._objects.delete_prefix(journals_folder(spec.project, spec.id))

    def render(self, job: Job, on_step: OnStep, on_preview: OnPreview | None = None) -> Film:
        """The job's video, from stored attention where there is some. Raises what ``generate``
        does."""
        spec = job.spec
        model = self.model(spec.recipe.generation.model)
        after_step = self._after_step(model, spec, on_step, on_preview)
        reader = self._open_source(model, spec)
        if reader is None:
            return self._run(model, spec, None, after_step)
        try:
            with reader:
                return self._run(model, spec, reader, after_step)
        except UNREADABLE as error:
            log.warning("job=%s source unreadable (%s): replayed", spec.id, type(error).__name__)
        return self._run(model, spec, None, after_step)

    def _after_step(
        self, model: LoadedModel, spec: JobSpec, on_step: OnStep, on_preview: OnPreview | None
    ) -> OnStepInfo:
        """What the run calls behind each step: ``on_step``, then a preview where one is due."""
        previewer = self._previews[model.card.id].of(spec)

        def after_step(info: StepInfo) -> None:
            on_step(info.step + 1, info.total)
            if previewer is None or on_preview is None:
                return
            jpeg = previewer.after_step(info)
            if jpeg is not None:
                on_preview(info.step + 1, info.total, jpeg)

        return after_step

    def draw(self, job: Job, on_step: OnStep) -> bytes:
        """A map job's picture, as PNG. Raises what ``look_at`` does."""
        model = self.model(job.spec.recipe.generation.model)
        return draw(model, self._artifacts, job.spec, on_step)

    def _run(
        self,
        model: LoadedModel,
        spec: JobSpec,
        reader: ArtifactReader | None,
        after_step: OnStepInfo,
    ) -> Film:
        way = reader.manifest.capture_key if reader else "replayed"
        folder = journals_folder(spec.project, spec.id)
        journal = Journal(self._objects, model, folder, way, self._settings.journal_after_s)
        kept, capture = None, None
        if journal.resumes:  # what is not computed again cannot be captured
            log.info("job=%s resumed from its journal", spec.id)
        else:
            kept, capture = self._open_capture(model, spec)

        try:
            with journal.open():
                frames = generate(
                    model,
                    spec.recipe,
                    transfer_from=reader,
                    form=reader.manifest.form if reader else "hidden",
                    hidden_layers=frozenset(reader.manifest.hidden_layers if reader else ()),
                    capture=capture,
                    on_step=after_step,
                )
        except BaseException:
            if kept is not None:
                kept.discard()
            raise
        if spec.recipe.source is None:
            return Film(frames, "none", kept)
        return Film(frames, "replayed" if reader is None else "stored", kept)

    def model(self, id: str) -> LoadedModel:
        """Raises Unsupported."""
        try:
            return self._models[id]
        except KeyError:
            raise Unsupported(f"model: {id!r} is no longer served", param="model") from None

    def close(self) -> None:
        """End the register's thread and its connection."""
        self._register.close()

    def _open_source(self, model: LoadedModel, spec: JobSpec) -> ArtifactReader | None:
        """A reader of what the edit needs of its source's attention, None if it is not there."""
        recipe = spec.recipe
        if recipe.source is None or recipe.transfer is None or spec.edit_source_key is None:
            return None
        resolved = resolve_transfer(recipe.transfer, model.card, recipe.generation)
        # cond maps for both branches are read twice where the branches are separate calls
        twice = resolved.source_branch == "cond" and len(resolved.branches) > 1
        needed = resolved.needed(2 if twice and not model.family.batched else 1)
        try:
            return self._find(spec, needed, model.pipeline)
        except UNREADABLE as error:
            log.warning("job=%s no source found: %s", spec.id, type(error).__name__)
            return None

    def _find(self, spec: JobSpec, needed: Needed, pipeline: Any) -> ArtifactReader | None:
        key = spec.edit_source_key
        assert key is not None
        manifest = self._artifacts.find(spec.project, key, needed)
        if manifest is None:
            return None
        self._held[key] = None
        self._held.move_to_end(key)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return self._artifacts.open_reader(
            manifest, needed, pipeline._execution_device, video_id=spec.id
        )

    def _open_capture(
        self, model: LoadedModel, spec: JobSpec
    ) -> tuple[KeptAttention | None, Capture | None]:
        if spec.capture is None:
            return None, None
        generation = spec.recipe.generation
        plan = resolve_capture(spec.capture, model.card, spec.recipe)
        ttl_s = spec.capture.ttl_s
        writer = self._artifacts.open_writer(
            project=spec.project,
            recipe=spec.recipe,
            plan=plan,
            grid=model.card.grid.tokens(generation.width, generation.height, generation.num_frames),
            expires_at=None if ttl_s is None else int(time.time()) + ttl_s,
            video_id=spec.id,
        )
        kept = KeptAttention(writer, spec.id)
        return kept, capture_into(kept, plan)
