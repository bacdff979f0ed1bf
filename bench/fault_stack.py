"""The whole service on this machine, and what can be done to it: the stage of ``bench.faults``.

Valkey, SeaweedFS behind a proxy that misbehaves on request, the API as a process, and Ray with
two workers that run a tiny random Wan.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx

from bench.processes import CONTROLLER, DISPATCHER, WORKER, processes
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.settings import StorageSettings
from tests import tiny
from tests.faults import Fault, FaultyProxy
from tests.servers import free_ports, run_seaweed
from workers.local import LocalWorkers
from workers.model_settings import ModelSettings
from workers.settings import WorkerSettings

BUCKET = "retake-faults"
LEASE_S = 3.0
PATIENCE_S = 4.0  # instead of 15 minutes: what outlasts it must be seen through all the same
WORKERS = 2


@dataclass
class FaultStack:
    """Everything that runs, while ``open_stack`` is open."""

    valkey: EmbeddedValkey
    valkey_folder: Path
    proxy: FaultyProxy
    workers: LocalWorkers
    settings: WorkerSettings
    api_env: dict[str, str]
    api: "subprocess.Popen[bytes]"
    base_url: str

    async def do(self, fault: str, chance: random.Random) -> None:
        """Carry out one of ``FAULTS``; returns when its cause is over."""
        await FAULTS[fault](self, chance)

    async def kill_worker(self, chance: random.Random) -> None:
        _kill(chance.choice(processes(WORKER)))

    async def stop_worker(self, chance: random.Random) -> None:
        """Stopped past its lease, then awake again as a zombie."""
        pid = chance.choice(processes(WORKER))
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(LEASE_S * chance.uniform(1.2, 2))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def kill_dispatcher(self, chance: random.Random) -> None:
        _kill(chance.choice(processes(DISPATCHER)))

    async def kill_controller(self, chance: random.Random) -> None:
        _kill(chance.choice(processes(CONTROLLER)))

    async def kill_api(self, chance: random.Random) -> None:
        self.api.kill()
        self.api.wait()
        self.api = await asyncio.to_thread(start_api, self.api_env, self.base_url)

    async def restart_valkey(self, chance: random.Random) -> None:
        """Killed as by a crash, and started on its file."""
        assert self.valkey.pid is not None
        _kill(self.valkey.pid)
        self.valkey.stop()
        await asyncio.sleep(chance.uniform(0, 1))
        self.valkey.start(self.valkey_folder)

    async def store_fails(self, chance: random.Random) -> None:
        for method in ("PUT", "GET", "POST"):
            self.proxy.add(Fault(method, status=500), times=4)

    async def store_is_busy(self, chance: random.Random) -> None:
        for method in ("PUT", "GET", "POST"):
            self.proxy.add(Fault(method, status=503), times=4)

    async def store_cuts(self, chance: random.Random) -> None:
        self.proxy.add(Fault("GET", cut_at=100), times=2)
        self.proxy.add(Fault("PUT", lose_answer=True), times=2)

    async def store_flips(self, chance: random.Random) -> None:
        self.proxy.add(Fault("GET", flip_at=chance.randrange(64)), times=1)

    async def stop_valkey(self, chance: random.Random) -> None:
        """Stopped and awake again: it accepts connections meanwhile, and answers none."""
        assert self.valkey.pid is not None
        os.kill(self.valkey.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(LEASE_S * chance.uniform(0.5, 2.5))
        finally:
            os.kill(self.valkey.pid, signal.SIGCONT)

    async def fill_valkey(self, chance: random.Random) -> None:
        """Out of memory: it answers reads and refuses writes."""
        redis = open_redis(self.settings.storage)
        async with aclosing(redis):
            await redis.config_set("maxmemory", "1")
            await asyncio.sleep(LEASE_S * chance.uniform(0.5, 2))
            await redis.config_set("maxmemory", "0")

    async def store_is_full(self, chance: random.Random) -> None:
        """Reads are answered, writes are not taken."""
        self.proxy.away = frozenset({"PUT", "POST"})
        await asyncio.sleep(PATIENCE_S * chance.uniform(0.5, 2))
        self.proxy.away = frozenset()

    async def store_is_away(self, chance: random.Random) -> None:
        """For three times as long as a finished video waits, as six minutes are of two."""
        self.proxy.away = frozenset({"PUT", "POST", "GET", "HEAD", "DELETE"})
        await asyncio.sleep(3 * PATIENCE_S)
        self.proxy.away = frozenset()

    async def kill_workers_again_and_again(self, chance: random.Random) -> None:
        """Every worker, three times: no job is to blame."""
        for _ in range(3):
            for pid in processes(WORKER):
                _kill(pid)
            await asyncio.to_thread(wait_for_workers)
            await asyncio.sleep(chance.uniform(0.5, 2))

    async def drain_workers(self, chance: random.Random) -> None:
        """Stopped with jobs that run and jobs that wait, and started again."""
        await asyncio.to_thread(self._restart_workers, chance.uniform(0, 2))

    def _restart_workers(self, drain_s: float) -> None:
        self.workers.drain(drain_s)
        self.workers.stop()
        self.workers.start()

    async def refuse_artifacts(self, chance: random.Random) -> None:
        """Redis takes no artifact's entry: what is stored meanwhile is listed later."""
        sizes = f"{self.settings.storage.redis_prefix}:artifact_bytes"
        redis = open_redis(self.settings.storage)
        async with aclosing(redis):
            await redis.rename(sizes, f"{sizes}:kept")
            await redis.set(sizes, "of another type")
            await asyncio.sleep(LEASE_S * chance.uniform(1, 2))
            await redis.rename(f"{sizes}:kept", sizes)

    async def store_hangs(self, chance: random.Random) -> None:
        self.proxy.add(Fault("PUT", hang=True))
        self.proxy.add(Fault("GET", hang=True))


FAULTS: dict[str, Callable[[FaultStack, random.Random], Awaitable[None]]] = {
    "worker killed": FaultStack.kill_worker,
    "worker stopped, zombie": FaultStack.stop_worker,
    "dispatcher killed": FaultStack.kill_dispatcher,
    "controller killed": FaultStack.kill_controller,
    "API killed": FaultStack.kill_api,
    "Valkey killed": FaultStack.restart_valkey,
    "store answers 500": FaultStack.store_fails,
    "store answers 503": FaultStack.store_is_busy,
    "store cuts answers": FaultStack.store_cuts,
    "store flips bits": FaultStack.store_flips,
    "store hangs": FaultStack.store_hangs,
    "Valkey stopped": FaultStack.stop_valkey,
    "Valkey out of memory": FaultStack.fill_valkey,
    "store full": FaultStack.store_is_full,
    "store away": FaultStack.store_is_away,
    "workers killed thrice": FaultStack.kill_workers_again_and_again,
    "workers drained": FaultStack.drain_workers,
    "index refuses artifacts": FaultStack.refuse_artifacts,
}


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for_workers() -> None:
    """Until Serve has replaced those that were killed."""
    while len(processes(WORKER)) < WORKERS:
        time.sleep(0.1)


def start_api(env: dict[str, str], base_url: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-m", "service"], env={**os.environ, **env})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{base_url}/healthz").is_success:
                return child
        time.sleep(0.05)
    child.kill()
    raise RuntimeError("the API did not start")


@contextlib.contextmanager
def open_stack(folder: Path) -> Iterator[FaultStack]:
    """Started, and stopped again, whatever happened to it meanwhile."""
    model = folder / "model"
    tiny.wan().save_pretrained(model, safe_serialization=True)
    keys = {"AWS_ACCESS_KEY_ID": "test-access-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}
    os.environ.update(keys, AWS_DEFAULT_REGION="us-east-1")
    valkey = EmbeddedValkey()
    (port,) = free_ports(1)
    (folder / "seaweed").mkdir()
    with run_seaweed(folder / "seaweed") as endpoint, FaultyProxy(endpoint) as proxy:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        storage = StorageSettings(
            redis_url=valkey.start(folder / "valkey"),
            object_url=f"s3://{BUCKET}",
            s3_endpoint_url=proxy.url,
        )
        settings = WorkerSettings(
            storage=storage,
            models=(
                ModelSettings(id="tiny", path=str(model), dtype="float32", defaults=tiny.DEFAULTS),
            ),
            replicas=WORKERS,
            storage_patience_s=PATIENCE_S,
            threads=1,
            lease_s=LEASE_S,
            log_level="warning",
        )
        env = {
            "RETAKE_REDIS_URL": storage.redis_url,
            "RETAKE_OBJECT_URL": storage.object_url,
            "RETAKE_S3_ENDPOINT_URL": proxy.url,
            "RETAKE_PORT": str(port),
            "RETAKE_LOG_LEVEL": "error",
            "RETAKE_DELIVERY": "bytes",
        }
        base_url = f"http://127.0.0.1:{port}"
        workers = LocalWorkers(settings)
        workers.start()
        api = start_api(env, base_url)
        stack = FaultStack(valkey, folder / "valkey", proxy, workers, settings, env, api, base_url)
        try:
            yield stack
        finally:
            workers.stop()
            stack.api.terminate()
            stack.api.wait()
            valkey.stop()
