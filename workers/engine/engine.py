"""The engine that serves: diffusers pipelines, fed from and captured to the artifact store."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from schemas.jobs import Job, JobSpec
from schemas.models import ModelCard
from storage.objects.objects import ObjectStore
from workers.analysis.analysis_job import AnalysisJob
from workers.analysis.map_job import run_map_job
from workers.artifacts.index_client import IndexClient
from workers.artifacts.store import ArtifactStore
from workers.control.engine_protocol import (
    AnalysedAttention,
    OnFrames,
    OnPreview,
    OnStep,
    RenderedVideo,
)
from workers.control.failure_policy import is_out_of_memory
from workers.engine.decoded_pieces import pieces_as_decoded
from workers.engine.dry_run import dry_run
from workers.engine.film_reader import FilmReader
from workers.engine.pictures import with_pictures
from workers.engine.source_finder import SourceFinder
from workers.engine.text_agreement import open_text_agreement
from workers.engine.video_job import Stores, VideoJob
from workers.generation.journal import journals_folder
from workers.models.model_cache import ModelCache, free_memory, set_threads
from workers.models.pipelines import LoadedModel
from workers.previews.previewer import Previews
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.engine.actors import Ranks

log = logging.getLogger("retake.worker")
Made = TypeVar("Made")


class PipelineEngine:
    """Serves the models of the settings; one job at a time, from one thread at a time.

    ``ranks``: the processes that a model may be spread over; this one is the first.
    """

    def __init__(
        self, settings: WorkerSettings, objects: ObjectStore, ranks: "Ranks | None" = None
    ) -> None:
        set_threads(settings)
        self._settings, self._ranks = settings, ranks
        self._models = ModelCache(settings, ranks.group if ranks else None, try_out=dry_run)
        if ranks is not None:
            self._check_ranks(ranks)
        self._previews = Previews()
        self._index = IndexClient(settings.storage)
        fitted = settings.artifacts.fitted(settings.processes_here())
        artifacts = ArtifactStore(objects, fitted, self._index)
        self._stores = Stores(
            objects,
            artifacts,
            SourceFinder(artifacts),
            settings.journal_after_s,
            settings.films,
            open_text_agreement(settings.text_agreement_model),
        )

    def cards(self) -> list[ModelCard]:
        return self._models.cards()

    def loaded_models(self) -> list[str]:
        return self._models.loaded()

    def held_sources(self) -> list[str]:
        return self._stores.sources.held()

    def check_health(self) -> None:
        """A device whose context is broken (an illegal access, a lost card) fails every call."""
        if torch.cuda.is_available():
            torch.cuda.current_stream().query()  # raises without waiting
        if self._ranks is not None:
            self._ranks.check_health()

    def free_memory(self) -> None:
        self._stores.artifacts.free_device()
        free_memory()

    def forget(self, spec: JobSpec) -> None:
        self._stores.objects.delete_prefix(journals_folder(spec.project, spec.id))

    def render(
        self,
        job: Job,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        on_frames: OnFrames | None = None,
    ) -> RenderedVideo:
        """The job's video. Raises what ``generate`` does."""
        spec = job.spec
        model = self.model(spec.recipe.generation.model)
        after_step = self._previews.behind_steps(model, spec, on_step, on_preview)
        video = VideoJob(self._stores, model, spec, after_step, self._ranks)
        with (
            with_pictures(self._stores.objects, spec, self.model) as model_of,
            pieces_as_decoded(model, on_frames),
        ):
            model_of(model.card.id)
            if model.group is not None:  # after a second try its ranks would be out of step
                return video.run()
            try:
                return self._run(spec, video.run)
            except Exception as error:
                if not is_out_of_memory(error) or spec.capture is None:
                    raise
            log.error("job=%s out of memory: once more, without its capture", spec.id)
            free_memory()
            return video.run(keep=False)

    def draw(self, job: Job, on_step: OnStep) -> bytes:
        """A map job's picture, as PNG. Raises what ``render_map`` does."""
        with with_pictures(self._stores.objects, job.spec, self.model) as model_of:
            model = model_of(job.spec.recipe.generation.model)
            return run_map_job(model, self._stores.artifacts, job.spec, on_step)

    def analyse(self, job: Job, on_step: OnStep) -> AnalysedAttention:
        """What the analysis found. Raises what ``run_analysis`` does."""
        with with_pictures(self._stores.objects, job.spec, self.model) as model_of:
            films = FilmReader(self._stores.objects, job.spec.project, self._stores.films)
            analysis = AnalysisJob(
                model_of, self._stores.artifacts, job.spec, films.latents, on_step
            )
            return self._run(job.spec, analysis.run)

    def _run(self, spec: JobSpec, run: Callable[[], Made]) -> Made:
        """``run``; once more if it ran out of memory, some of which held kept tensors."""
        try:
            return run()
        except Exception as error:
            if not is_out_of_memory(error) or not self._stores.artifacts.free_device():
                raise
        log.warning("job=%s out of memory: once more, the device cache is emptied", spec.id)
        free_memory()
        return run()

    def model(self, id: str) -> LoadedModel:
        """Loaded, if it was not. Raises Unsupported, ModelLoadError."""
        if id not in self._models.loaded():
            self._stores.artifacts.free_device()  # the weights come first
        return self._models.get(id)

    def close(self) -> None:
        """End the index client's thread and its connection."""
        self._index.close()

    def _check_ranks(self, ranks: "Ranks") -> None:
        """Serve what every rank could load."""
        everywhere = ranks.served()
        for model in self._settings.models:
            if model.ranks > 1 and model.id not in everywhere:
                log.error("model %s is not served: not every rank could load it", model.id)
                self._models.leave_out(model.id)
        self._models.check_not_empty()
