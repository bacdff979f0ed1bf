"""``/readyz``: everything that accepting a job needs, and nothing that outlived its owner."""

import os
import signal
from pathlib import Path

import redis

from service.settings import ServiceSettings
from storage.embedded.valkey import EmbeddedValkey
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, running, storage_settings, wait_for
from tests.service.worker import Worker


def problem(api: Api) -> str | None:
    """What ``/readyz`` says is missing."""
    response = api.http.get(f"{api.url}/readyz")
    if response.status_code == 200:
        assert response.json() == {"status": "ok"}
        return None
    assert response.status_code == 503
    assert response.headers["retry-after"]
    return str(response.json()["error"]["message"])


def ready(api: Api) -> bool:
    return problem(api) is None


def test_ready_with_a_worker(api: Api) -> None:
    wait_for(lambda: ready(api), "the worker to be heard")


def test_models_of_workers_that_are_gone_are_not_enough(
    serve: Serve, own_storage: StorageSettings
) -> None:
    """A stack that starts again: its models are still listed, its workers are not there yet."""
    before = Worker(own_storage)
    before.start()
    before.stop()
    api = serve(worker=False)
    assert api.http.get("/models").json()["data"], "the model is known"
    assert "no worker" in (problem(api) or "")
    after = Worker(own_storage)
    after.start()
    wait_for(lambda: ready(api), "the new worker to be heard")
    after.stop()
    with redis.Redis.from_url(own_storage.redis_url) as client:
        probe = f"{own_storage.redis_prefix}:ready"
        client.delete(probe)
        wait_for(lambda: ready(api) and client.exists(probe), "another look")  # jobs may wait


def test_a_full_disk(valkey_url: str, tmp_path: Path) -> None:
    full = StorageSettings(
        redis_url=valkey_url,
        object_url=f"file://{tmp_path}",
        redis_prefix="full-disk",
        min_free_bytes=1 << 60,
    )
    worker = Worker(full)
    worker.start()
    with running(ServiceSettings(storage=full, port=0)) as api:
        wait_for(lambda: "object store" in (problem(api) or ""), "the disk to be found full")
        assert str(tmp_path) not in (problem(api) or "")
    worker.stop()


def test_a_redis_that_is_out_of_memory_then_hangs(tmp_path: Path) -> None:
    valkey = EmbeddedValkey()
    settings = storage_settings(valkey.start(tmp_path / "valkey"), tmp_path / "objects", "oom")
    worker = Worker(settings)
    worker.start()
    with (
        running(ServiceSettings(storage=settings, port=0)) as api,
        redis.Redis.from_url(settings.redis_url) as client,
    ):
        wait_for(lambda: ready(api), "the worker to be heard")
        worker.stop()  # its own calls would fail too
        client.config_set("maxmemory", "1")
        wait_for(lambda: "job store" in (problem(api) or ""), "writes to be refused")
        client.config_set("maxmemory", "0")
        wait_for(lambda: ready(api), "writes to be taken again")
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: "job store" in (problem(api) or ""), "the silence to be noticed", 15)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        wait_for(lambda: ready(api), "Redis to answer again")
    valkey.stop()
