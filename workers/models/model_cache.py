"""The models of one process: all of the settings' that load, in memory as far as the budget goes.

Every model is loaded once at the start and makes a small video, for its card, and to find out then
what is wrong with it: one that does not load is left out, and the others are served. With a budget,
the models not used for longest make room; a job that wants one of those waits while it is loaded
again.
"""

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from schemas.errors import Unsupported
from schemas.models import ModelCard
from workers import machine
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, ModelLoadError, folder_of, load_model
from workers.models.rank_group import RankGroup
from workers.settings import WorkerSettings

log = logging.getLogger("retake.pipelines")


class ModelCache:
    """For one thread at a time; ``cards`` and ``loaded`` may be asked from others.

    ``group``: this process's ranks. A rank beside rank 0 holds the models that are spread alone.
    ``try_out``: run on each model once; it says why attention can be neither kept nor put in, or
    None, and raises ModelLoadError where no video can be made.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        group: RankGroup | None = None,
        try_out: Callable[[LoadedModel], str | None] = lambda _: None,
    ) -> None:
        """Raises ModelLoadError where not one model loads, but on ranks beside rank 0."""
        self._try_out = try_out
        self._group = group
        self._budget = settings.model_memory_bytes
        self._settings: dict[str, ModelSettings] = {}
        self._cards: dict[str, ModelCard] = {}
        self._refusals: dict[str, str | None] = {}  # by ``try_out``, once a model
        self._sizes: dict[str, int] = {}  # bytes of weights, once they are known
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()  # the last used last
        first = group is None or group.rank == 0
        for model in settings.models:
            if first or model.ranks > 1:
                self._try(model)
        if first:
            self.check_not_empty()

    def _try(self, model: ModelSettings) -> None:
        try:
            self._load(model)
        except ModelLoadError as error:
            log.error("model %s is not served: %s", model.id, error)
        else:
            self._settings[model.id] = model

    def check_not_empty(self) -> None:
        """Raises ModelLoadError."""
        if not self._cards:
            raise ModelLoadError("models: none can be served; the log says why of each")

    def cards(self) -> list[ModelCard]:
        """Of all models that are served, whether they are in memory or not."""
        return list(self._cards.values())

    def loaded(self) -> list[str]:
        """The ids of those in memory."""
        return list(self._loaded)

    def get(self, id: str) -> LoadedModel:
        """The model, loaded if need be. Raises Unsupported, ModelLoadError."""
        if id not in self._settings:
            raise Unsupported(f"model: {id!r} is no longer served", param="model")
        if id not in self._loaded:
            self._load(self._settings[id])
        self._loaded.move_to_end(id)
        return self._loaded[id]

    def leave_out(self, id: str) -> None:
        """Serve it no longer."""
        for each in (self._settings, self._cards, self._loaded):
            each.pop(id, None)
        free_memory()

    def _load(self, settings: ModelSettings) -> None:
        if self._budget is not None:
            # before it was loaded once, its files say about what it takes
            size = self._sizes.get(settings.id) or stored_bytes(folder_of(settings))
            self._make_room(size)
        model = load_model(settings, self._group if settings.ranks > 1 else None)
        size = self._sizes[settings.id] = weight_bytes(model)
        if self._budget is not None and size > self._budget:
            raise ModelLoadError(
                f"model {settings.id!r} takes {size} bytes; model_memory_bytes allows "
                f"{self._budget}"
            )
        self._make_room(size)
        model = self._tried(model)
        self._loaded[settings.id] = model
        self._cards[settings.id] = model.card

    def _tried(self, model: LoadedModel) -> LoadedModel:
        """``model``, whose card says what ``try_out`` found. Raises ModelLoadError."""
        id = model.card.id
        if id not in self._refusals:
            self._refusals[id] = self._try_out(model)
        refusal = self._refusals[id]
        if refusal is None:
            return model
        log.warning("model %s is served without capture and edits: %s", id, refusal)
        changes = {"supports_transfer": False, "no_transfer_reason": refusal}
        return replace(model, card=model.card.model_copy(update=changes))

    def _make_room(self, size: int) -> None:
        """Let go of models until ``size`` more bytes fit, the one not used for longest first."""
        if self._budget is None:
            return
        while self._loaded and size + sum(map(self._sizes.__getitem__, self._loaded)) > (
            self._budget
        ):
            id, _ = self._loaded.popitem(last=False)
            log.info("model %s makes room", id)
            del _  # the last reference but for cycles
            free_memory()


def weight_bytes(model: LoadedModel) -> int:
    """Of all parameters and buffers of the pipeline's parts, each tensor once."""
    parts = [part for part in model.pipeline.components.values() if isinstance(part, nn.Module)]
    tensors = {
        id(tensor): tensor.nbytes
        for part in parts
        for tensor in (*part.parameters(), *part.buffers())
    }
    return sum(tensors.values())


def stored_bytes(folder: Path) -> int:
    """Of the weights in a model's folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def free_memory() -> None:
    """Give back what nobody refers to any more: hooks and pipelines refer to one another."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def set_threads(settings: WorkerSettings) -> None:
    """torch's, of this process: the settings', or a fair share of the machine's cores."""
    share = machine.cores() // settings.processes_here()
    torch.set_num_threads(settings.threads or max(1, share))
