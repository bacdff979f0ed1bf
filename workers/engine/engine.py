"""The engine that serves: diffusers pipelines, fed from and captured to the artifact store.

A stored artifact is a cache: where it is missing, damaged or out of reach, the source is replayed
in the same job, and where a capture cannot be stored, the video is made without it.
"""

import contextlib
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from schemas.artifacts import Needed
from schemas.jobs import Job, JobSpec
from schemas.models import ModelCard
from schemas.recipes import Recipe
from schemas.selection import resolve_capture, resolve_transfer
from storage.objects.objects import ObjectStore
from workers.analysis.map_job import run_map_job
from workers.artifacts.index_client import IndexClient
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.attention.edit import capture_into
from workers.attention.run import Capture
from workers.control.failure_policy import is_out_of_memory
from workers.control.run_job import OnPreview, OnStep, RenderedVideo
from workers.engine.best_effort_capture import BestEffortCapture
from workers.families.base import Frames
from workers.generation.context_parallel import Kept, RankTask
from workers.generation.generate import OnStep as OnStepInfo
from workers.generation.generate import StepInfo, generate
from workers.generation.journal import Journal, journals_folder
from workers.models.model_cache import ModelCache, free_memory, set_threads
from workers.models.pipelines import LoadedModel
from workers.previews.previewer import Previews
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.engine.actors import Ranks

log = logging.getLogger("retake.worker")

_HELD = 256  # sources that are reported to the router


class PipelineEngine:
    """Serves the models of the settings; one job at a time, from one thread at a time.

    ``ranks``: the processes that a model may be spread over; this one is the first.
    """

    def __init__(
        self, settings: WorkerSettings, objects: ObjectStore, ranks: "Ranks | None" = None
    ) -> None:
        set_threads(settings)
        self._settings, self._objects, self._ranks = settings, objects, ranks
        self._models = ModelCache(settings, ranks.group if ranks else None)
        if ranks is not None:
            self._check_ranks(ranks)
        self._previews = Previews()
        self._index = IndexClient(settings.storage)
        self._artifacts = ArtifactStore(objects, settings.artifacts, self._index)
        self._held: OrderedDict[str, None] = OrderedDict()

    def cards(self) -> list[ModelCard]:
        return self._models.cards()

    def loaded_models(self) -> list[str]:
        return self._models.loaded()

    def held_sources(self) -> list[str]:
        return list(self._held)

    def check_health(self) -> None:
        """A device whose context is broken (an illegal access, a lost card) fails every call."""
        if torch.cuda.is_available():
            torch.cuda.current_stream().query()  # raises without waiting
        if self._ranks is not None:
            self._ranks.check_health()

    def free_memory(self) -> None:
        self._artifacts.free_device()
        free_memory()

    def forget(self, spec: JobSpec) -> None:
        self._objects.delete_prefix(journals_folder(spec.project, spec.id))

    def render(
        self, job: Job, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> RenderedVideo:
        """The job's video, from stored attention where there is some. Raises what ``generate``
        does."""
        spec = job.spec
        model = self.model(spec.recipe.generation.model)
        after_step = self._after_step(model, spec, on_step, on_preview)
        try:
            return self._render(model, spec, after_step)
        except Exception as error:
            again = is_out_of_memory(error) and model.group is None  # ranks would be out of step
            if not again or not self._artifacts.free_device():
                raise
        log.warning("job=%s out of memory: once more, the device cache is emptied", spec.id)
        free_memory()
        return self._render(model, spec, after_step)

    def _render(self, model: LoadedModel, spec: JobSpec, after_step: OnStepInfo) -> RenderedVideo:
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
        previewer = self._previews.of(model, spec)

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
        return run_map_job(model, self._artifacts, job.spec, on_step)

    def _run(
        self,
        model: LoadedModel,
        spec: JobSpec,
        reader: ArtifactReader | None,
        after_step: OnStepInfo,
    ) -> RenderedVideo:
        journal = self._journal(model, spec, reader)
        kept, capture = None, None
        if journal is not None and journal.resumes:  # what is not computed cannot be captured
            log.info("job=%s resumed from its journal", spec.id)
        else:
            kept, capture = self._open_capture(model, spec)

        try:
            with journal.open() if journal else contextlib.nullcontext():
                frames = self._generate(model, spec.recipe, reader, capture, after_step)
        except BaseException:
            if kept is not None:
                kept.discard()
            raise
        if spec.recipe.source is None:
            return RenderedVideo(frames, "none", kept)
        return RenderedVideo(frames, "replayed" if reader is None else "stored", kept)

    def _journal(
        self, model: LoadedModel, spec: JobSpec, reader: ArtifactReader | None
    ) -> Journal | None:
        """None for a model of several ranks: those beside this one could not follow it."""
        if model.group is not None:
            return None
        way = reader.manifest.capture_key if reader else "replayed"
        folder = journals_folder(spec.project, spec.id)
        return Journal(self._objects, model, folder, way, self._settings.journal_after_s)

    def _generate(
        self,
        model: LoadedModel,
        recipe: Recipe,
        reader: ArtifactReader | None,
        capture: Capture | None,
        on_step: OnStepInfo,
    ) -> Frames:
        """By this process, or by all ranks."""
        form = reader.manifest.form if reader else None
        hidden_layers = frozenset(reader.manifest.hidden_layers if reader else ())
        if model.group is None:
            return generate(
                model,
                recipe,
                transfer_from=reader,
                form=form or "hidden",
                hidden_layers=hidden_layers,
                capture=capture,
                on_step=on_step,
            )
        assert self._ranks is not None
        task = RankTask(model.card.id, recipe, form, hidden_layers, Kept.of(capture))
        return self._ranks.generate(model, task, reader, capture, on_step)

    def _check_ranks(self, ranks: "Ranks") -> None:
        """Serve what every rank could load."""
        everywhere = ranks.served()
        for model in self._settings.models:
            if model.ranks > 1 and model.id not in everywhere:
                log.error("model %s is not served: not every rank could load it", model.id)
                self._models.leave_out(model.id)
        self._models.check_not_empty()

    def model(self, id: str) -> LoadedModel:
        """Loaded, if it was not. Raises Unsupported, ModelLoadError."""
        if id not in self._models.loaded():
            self._artifacts.free_device()  # the weights come first
        return self._models.get(id)

    def close(self) -> None:
        """End the index's thread and its connection."""
        self._index.close()

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
    ) -> tuple[BestEffortCapture | None, Capture | None]:
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
        kept = BestEffortCapture(writer, spec.id)
        return kept, capture_into(kept, plan)
