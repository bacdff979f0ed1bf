"""An API with a worker of the service's tests behind it, for the commands that speak to it."""

from collections.abc import Iterator

import pytest

from service.settings import ServiceSettings
from tests.service.conftest import Api, running, storage_settings
from tests.service.worker import CARD, FROM_IMAGE, Worker


@pytest.fixture(scope="session")
def api(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    storage = storage_settings(valkey_url, tmp_path_factory.mktemp("objects"), "commands")
    worker = Worker(storage, CARD, FROM_IMAGE)
    worker.start()
    with running(ServiceSettings(storage=storage, port=0, default_model="scenes")) as api:
        yield api
    worker.stop()
