"""What tests of the engine share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.objects.objects import ObjectStore
from tests import tiny
from tests.workers.engine.engines import open_engine
from workers.engine.engine import PipelineEngine
from workers.settings import WorkerSettings


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def engine(
    model_folder: Path, settings: WorkerSettings, objects: ObjectStore
) -> Iterator[PipelineEngine]:
    engine = open_engine(model_folder, settings, objects)
    yield engine
    engine.close()
