"""What tests of the engine share."""

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    return folder
