"""An analysis as a job: each source from stored attention where there is some, else run again."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor

from schemas.analyses import AnalysedRun, resolve_analysis
from schemas.artifacts import Manifest
from schemas.capture_plan import Needed
from schemas.jobs import JobSpec
from schemas.models import ModelCard
from workers.analysis.attention_calls import check_seen
from workers.analysis.collect import FilmOf, reads_stored
from workers.analysis.collector import CollectPlan, tells_values
from workers.analysis.run import collect_plans, run_analysis
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.attention.maps import Address
from workers.attention.transfer import StoredAttention
from workers.control.engine_protocol import AnalysedAttention, OnStep
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")


class StoredRun(NamedTuple):
    """An artifact that spares a source's run, and what is read of it."""

    manifest: Manifest
    needed: Needed


class AnalysisJob:
    """``model_of``: the loaded model of an id. ``film``: gives the latents of the project's
    uploaded films. ``on_step(done, total)``: may raise to stop it."""

    def __init__(
        self,
        model_of: Callable[[str], LoadedModel],
        artifacts: ArtifactStore,
        job: JobSpec,
        film: FilmOf,
        on_step: OnStep,
    ) -> None:
        assert job.analysis is not None
        self._model_of, self._artifacts, self._on_step = model_of, artifacts, on_step
        self._job, self._spec, self._film = job, job.analysis, film

    def run(self) -> AnalysedAttention:
        """Raises what ``run_analysis`` does, and Unsupported for a model that is not served."""
        cards = self._cards()
        stored = self._find_stored(cards)
        try:
            return self._analyse(stored)
        except UNREADABLE as error:
            if not any(stored):
                raise
            name = type(error).__name__
            log.warning("job=%s stored attention unreadable (%s): run again", self._job.id, name)
        return self._analyse([None] * len(stored))

    def _analyse(self, stored: Sequence[StoredRun | None]) -> AnalysedAttention:
        with ExitStack() as opened:
            result = run_analysis(
                lambda recipe: self._model_of(recipe.generation.model),
                self._spec,
                stored=[None if each is None else self._read(each, opened) for each in stored],
                film=self._film,
                on_progress=self._on_step,
            )
        return AnalysedAttention(
            result=json.dumps(result.to_json(), allow_nan=False).encode(),
            figures=result.figures,
            report=result.report.encode(),
            stored_sources=tuple(place for place, each in enumerate(stored) if each is not None),
        )

    def _cards(self) -> dict[str, ModelCard]:
        """Of its models, by id, once each is known to show its attention."""
        found = {}
        for id in {each.generation.model for each in self._spec.sources}:
            model = self._model_of(id)
            check_seen(model)
            found[id] = model.card
        return found

    def _find_stored(self, cards: Mapping[str, ModelCard]) -> list[StoredRun | None]:
        """For each source what spares its run, None where nothing does."""
        if self._spec.kind == "layer_sweep":  # of videos that are all still to be made
            return [None] * len(self._spec.sources)
        runs = resolve_analysis(self._spec, cards)
        return list(map(self._find, runs, collect_plans(self._spec, runs)))

    def _find(self, run: AnalysedRun, plan: CollectPlan) -> StoredRun | None:
        model = self._model_of(run.recipe.generation.model)

        def usable(manifest: Manifest) -> bool:
            """Whether it tells all that the run would, and exactly: no lossy codec's tensors."""
            if manifest.plan.codec == "int8" or not reads_stored(model, manifest.plan, plan):
                return False
            every = model.hooks.attention_modules
            values = all(tells_values(attn, manifest.form) for attn in every)
            return values or self._spec.kind == "sparsity"  # which looks at no values

        project = self._job.project
        try:
            found = self._artifacts.find(project, run.recipe.key(project), plan.needed, usable)
        except UNREADABLE as error:
            log.warning("job=%s no attention found: %s", self._job.id, type(error).__name__)
            return None
        return None if found is None else StoredRun(found, plan.needed)

    def _read(self, stored: StoredRun, opened: ExitStack) -> StoredAttention:
        manifest, needed = stored

        def open_reader() -> ArtifactReader:
            opened.close()  # one source's at a time reads ahead
            model = self._model_of(manifest.recipe.generation.model)
            device = model.pipeline._execution_device
            return opened.enter_context(self._artifacts.open_reader(manifest, needed, device))

        return StoredAttention(manifest.plan, LazyReader(open_reader))


class LazyReader:
    """A MapSource that is opened when the first tensor is asked for."""

    def __init__(self, open_reader: Callable[[], ArtifactReader]) -> None:
        self._open_reader = open_reader
        self._reader: ArtifactReader | None = None

    def get(self, address: Address, name: str) -> Tensor:
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader.get(address, name)
