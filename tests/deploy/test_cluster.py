"""The Ray cluster of docker-compose.yml, by its own commands, on loopback instead of containers."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from storage.connect import open_redis
from storage.jobs.jobs import open_jobs
from storage.settings import StorageSettings
from tests.deploy.test_manifests import COMPOSE, ROOT
from tests.servers import free_ports

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
PATIENCE_S = 120.0


class Cluster:
    """The services of compose that run Ray, as child processes."""

    def __init__(self, folder: Path, storage: StorageSettings) -> None:
        gcs, dashboard = free_ports(2)
        head, loopback = f"127.0.0.1:{gcs}", "--node-ip-address=127.0.0.1"
        self._addresses = {
            "ray-head:6379": head,
            "localhost:6379": head,
            "ray-head:8265": f"127.0.0.1:{dashboard}",
        }
        # what containers have to themselves, and processes of one machine share
        ports = [f"--port={gcs}", f"--dashboard-port={dashboard}"]
        self._apart = {
            "ray-head": [loopback, *ports, f"--temp-dir={folder}"],
            "worker": [loopback, "--num-cpus=1"],
        }
        self._env = os.environ | {
            "RETAKE_REDIS_URL": storage.redis_url,
            "RETAKE_REDIS_PREFIX": storage.redis_prefix,
            "RETAKE_OBJECT_URL": storage.object_url,
            "RETAKE_NUM_GPUS": "0",
            "RETAKE_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "t" * 64,
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }

    def command(self, service: str, words: list[str]) -> list[str]:
        """A command of compose, with addresses of ours."""
        for theirs, ours in self._addresses.items():
            words = [word.replace(theirs, ours) for word in words]
        words = [word.replace("0.0.0.0", "127.0.0.1") for word in words]
        return [str(BIN / words[0]), *words[1:], *self._apart.get(service, [])]

    @contextmanager
    def running(self, service: str) -> Iterator[None]:
        """The service until the block ends; healthy by its own check when it begins."""
        command = self.command(service, COMPOSE["services"][service]["command"])
        child = subprocess.Popen(command, env=self._env, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            _, *check = COMPOSE["services"][service]["healthcheck"]["test"]
            wait_until(lambda: self.succeeds(service, check), f"{service} is healthy")
            assert child.poll() is None
            yield
        finally:
            child.terminate()
            child.wait()

    def succeeds(self, service: str, words: list[str]) -> bool:
        done = subprocess.run(
            self.command(service, words)[: len(words)], env=self._env, cwd=ROOT,
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as short:
        yield Path(short)  # sockets below it have long names


@pytest.mark.timeout(400)
async def test_head_worker_and_application_serve_a_model(
    folder: Path, valkey_url: str, tmp_path: Path
) -> None:
    storage = StorageSettings(
        redis_url=valkey_url, object_url=tmp_path.as_uri(), redis_prefix="compose"
    )
    cluster = Cluster(folder, storage)
    with ExitStack() as stack:
        for service in ("ray-head", "worker"):
            stack.enter_context(cluster.running(service))
        assert cluster.succeeds("application", COMPOSE["services"]["application"]["command"])
        redis = open_redis(storage)
        jobs = open_jobs(redis, prefix=storage.redis_prefix)
        deadline = time.monotonic() + PATIENCE_S
        while not (cards := await jobs.models.list()):
            assert time.monotonic() < deadline, "no model was published"
            await asyncio.sleep(0.2)
        await redis.aclose()
    assert [card.id for card in cards] == ["scenes"]
