"""The API as clients meet it: a real server on loopback over a real Valkey and a folder store."""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from service.request.app_state import AppState
from service.server import Server
from service.settings import ServiceSettings
from storage.connect import open_redis
from storage.jobs.model_registry import ModelRegistry
from storage.keys import PROJECT_SCOPES, KeyStore, Scope
from storage.settings import StorageSettings
from tests.service.worker import CARD, EITHER, FROM_IMAGE, Worker

Serve = Callable[..., "Api"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:The Sora API:DeprecationWarning")


class Api:
    """A running server and how to speak to it."""

    def __init__(self, server: Server, port: int) -> None:
        self.app = server.app
        self.settings: ServiceSettings = self.state.settings
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=f"{self.url}/v1", timeout=20)

    @property
    def state(self) -> AppState:
        state: AppState = self.app.state.retake
        return state

    def sdk(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": "unused", **options})

    def of(self, secret: str) -> "Api":
        """The same server as the owner of a key sees it."""
        api = copy.copy(self)
        api.http = httpx.Client(
            base_url=f"{self.url}/v1", timeout=20, headers={"authorization": f"Bearer {secret}"}
        )
        return api

    def create(self, prompt: str = "A car.", **body: Any) -> dict[str, Any]:
        response = self.http.post("/videos", json={"prompt": prompt, **body})
        assert response.status_code == 200, response.text
        video: dict[str, Any] = response.json()
        return video

    def get(self, video_id: str, **query: Any) -> dict[str, Any]:
        video: dict[str, Any] = self.http.get(f"/videos/{video_id}", params=query).json()
        return video

    def finished(self, prompt: str = "A car.", **body: Any) -> dict[str, Any]:
        video = self.get(self.create(prompt, **body)["id"], wait=20)
        assert video["status"] in ("completed", "failed")
        return video

    def count(self) -> int:
        """How many videos the default project has."""
        return len(self.http.get("/videos", params={"limit": 100}).json()["data"])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """The first true value of ``condition``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.01)
    pytest.fail(f"waited {seconds:g} s for {what}")


@contextmanager
def running(settings: ServiceSettings) -> Iterator[Api]:
    server = Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive(), "the server to start")
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    api = Api(server, port)
    try:
        yield api
    finally:
        api.http.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def storage_settings(valkey_url: str, folder: Path, prefix: str) -> StorageSettings:
    return StorageSettings(redis_url=valkey_url, object_url=f"file://{folder}", redis_prefix=prefix)


def _own_prefix(name: str) -> str:
    """Another's worker would take the jobs and store what it makes elsewhere."""
    return f"{name}-{time.monotonic_ns():x}"


@pytest.fixture(scope="session")
def storage(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> StorageSettings:
    """The stores that most tests share."""
    return storage_settings(valkey_url, tmp_path_factory.mktemp("objects"), _own_prefix("shared"))


@pytest.fixture(scope="session")
def worker(storage: StorageSettings) -> Iterator[Worker]:
    worker = Worker(storage)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def api(storage: StorageSettings, worker: Worker) -> Iterator[Api]:
    """A server without keys, with a worker behind it."""
    with running(ServiceSettings(storage=storage, port=0, poll_after_ms=100)) as api:
        yield api


@pytest.fixture(scope="session")
def picture_storage(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> StorageSettings:
    return storage_settings(valkey_url, tmp_path_factory.mktemp("objects"), "pictures")


@pytest.fixture(scope="session")
def picture_api(picture_storage: StorageSettings) -> Iterator[Api]:
    """A server whose models take pictures, but for ``scenes``; up to 1 MiB each."""
    worker = Worker(picture_storage, CARD, FROM_IMAGE, EITHER)
    worker.start()
    settings = ServiceSettings(
        storage=picture_storage, port=0, default_model="scenes", max_picture_bytes=1 << 20
    )
    with running(settings) as api:
        yield api
    worker.stop()


@pytest.fixture
def own_storage(valkey_url: str, tmp_path: Path) -> StorageSettings:
    """Stores of one test's own."""
    return storage_settings(valkey_url, tmp_path / "objects", _own_prefix("own"))


@pytest.fixture
def serve(own_storage: StorageSettings) -> Iterator[Serve]:
    """Starts servers of one test's own: ``serve(worker=True, **settings)``."""
    with ExitStack() as stack:

        def start(*, worker: bool = True, **settings: Any) -> Api:
            if worker:
                started = Worker(own_storage)
                started.start()
                stack.callback(started.stop)
            return stack.enter_context(
                running(ServiceSettings(storage=own_storage, port=0, **settings))
            )

        yield start


def make_key(storage: StorageSettings, project: str, *scopes: Scope, **more: Any) -> str:
    """A key's secret."""

    async def make() -> str:
        redis = open_redis(storage)
        keys = KeyStore(redis, prefix=storage.redis_prefix)
        _, secret = await keys.create(project, scopes or PROJECT_SCOPES, **more)
        await redis.aclose()
        return secret

    return asyncio.run(make())


@pytest.fixture
def idle(own_storage: StorageSettings, serve: Serve) -> Api:
    """A server whose model is published while no worker takes jobs: they stay queued."""

    async def publish() -> None:
        redis = open_redis(own_storage)
        await ModelRegistry(redis, prefix=own_storage.redis_prefix).publish(CARD, ttl_s=3600)
        await redis.aclose()

    asyncio.run(publish())
    return serve(worker=False)
