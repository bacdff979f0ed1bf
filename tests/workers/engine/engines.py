"""Engines that serve a tiny model."""

from pathlib import Path
from typing import Any

from storage.objects.objects import ObjectStore
from tests import tiny
from workers.artifacts.settings import ArtifactSettings
from workers.engine.engine import PipelineEngine
from workers.model_settings import ModelSettings
from workers.models.model_cache import stored_bytes
from workers.settings import WorkerSettings


def open_engine(
    folder: Path,
    settings: WorkerSettings,
    objects: ObjectStore,
    *,
    journal_after_s: float = 3600.0,
    ids: tuple[str, ...] = ("tiny",),
    **more: Any,
) -> PipelineEngine:
    """``more``: settings of the artifacts."""
    changes = {
        "models": tuple(
            ModelSettings(id=id, path=str(folder), dtype="float32", defaults=tiny.DEFAULTS)
            for id in ids
        ),
        "model_memory_bytes": None if len(ids) == 1 else stored_bytes(folder) * 3 // 2,
        "journal_after_s": journal_after_s,
        "artifacts": ArtifactSettings(store_patience_s=0.2, **more),
    }
    return PipelineEngine(settings.model_copy(update=changes), objects)
