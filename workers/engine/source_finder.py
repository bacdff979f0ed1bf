"""Finds what an edit needs of its source's attention; remembers which sources were read."""

import logging
from collections import OrderedDict

from schemas.capture_plan import Needed
from schemas.jobs import JobSpec
from schemas.recipes import Recipe
from schemas.selection import ResolvedTransfer
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.store import UNREADABLE, ArtifactStore
from workers.models.pipelines import LoadedModel

log = logging.getLogger("retake.worker")

_REMEMBERED = 256  # sources that are reported to the router


class SourceFinder:
    """Over one process's artifacts. For one thread at a time, but for ``held``."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._held: OrderedDict[str, None] = OrderedDict()

    def held(self) -> list[str]:
        """The keys of the sources whose tensors are likely at hand here, the last used last."""
        return list(self._held)

    def open(
        self, model: LoadedModel, spec: JobSpec, transfer: ResolvedTransfer | None
    ) -> ArtifactReader | None:
        """A reader of what ``transfer`` takes of the source; None: it is not there."""
        key = spec.edit_source_key
        if transfer is None or key is None:
            return None
        needed = _needed(model, transfer)
        try:
            manifest = self._artifacts.find(spec.project, key, needed)
            if manifest is None:
                return None
            self._remember(key)
            device = model.pipeline._execution_device
            return self._artifacts.open_reader(manifest, needed, device, video_id=spec.id)
        except UNREADABLE as error:
            log.warning("job=%s no source found: %s", spec.id, type(error).__name__)
            return None

    def open_outputs(
        self, model: LoadedModel, spec: JobSpec, source: Recipe
    ) -> ArtifactReader | None:
        """A reader of what the transformer gave in ``source``'s run; None: it is not there. Raises
        what finding it raises."""
        needed = Needed(frozenset(), frozenset(), frozenset(), outputs=True)
        manifest = self._artifacts.find(spec.project, source.key(spec.project), needed)
        if manifest is None:
            return None
        device = model.pipeline._execution_device
        return self._artifacts.open_reader(manifest, needed, device, video_id=spec.id)

    def _remember(self, key: str) -> None:
        self._held[key] = None
        self._held.move_to_end(key)
        while len(self._held) > _REMEMBERED:
            self._held.popitem(last=False)


def _needed(model: LoadedModel, transfer: ResolvedTransfer) -> Needed:
    # cond maps for both branches are read twice where the branches are separate calls
    twice = transfer.source_branch == "cond" and len(transfer.branches) > 1
    return transfer.needed(2 if twice and not model.family.batched else 1)
