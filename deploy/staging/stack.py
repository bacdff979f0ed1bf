"""The stack up, down, and what is done to it meanwhile: a node lost and joined, an API restarted,
the store away, another version of the application."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.staging.cluster import Cluster
from deploy.staging.compose import ROOT
from deploy.staging.parts import DEPLOY, Part, Parts
from deploy.staging.processes import Processes, wait_until
from deploy.staging.stage import API_REPLICAS, WORKER_NODES, Stage

_START_S = 180.0
_RESTARTS = 2  # of a Ray node, as by Compose: `ray start` gives up after 30 s of its own
# what compose gives each to end by itself; a node has its job to end
_GRACE_S = {"valkey": 60.0, "objects": 60.0, "api": 45.0, "proxy": 45.0, "worker": 200.0}
_GRACE_OTHER_S = 30.0


class StackError(Exception):
    """A part did not start, or did not end by itself; the message names it and its log."""


class Stack:
    """``settings``: RETAKE_* over those of docker-compose.yml, for every part."""

    def __init__(self, stage: Stage, settings: Mapping[str, str] = {}) -> None:
        self.stage = stage
        self.parts = Parts(stage, settings)
        self.processes = Processes(stage.folder / "parts", stage.folder / "logs")
        self.cluster = Cluster(self.parts)
        self._joined = 0

    def up(self) -> None:
        """Start every part in order, each once what it needs answers. Raises StackError."""
        stage, parts = self.stage, self.parts
        self._start("valkey", parts.valkey(), lambda: _listens(stage.ports["valkey"]))
        self.start_objects()
        for name in ("first-key", "metrics-key"):
            self._run(name, parts.key(name))
        for number in range(1, API_REPLICAS + 1):
            self.start_api(number)
        self._start("proxy", parts.proxy(), lambda: self.answers("/healthz"))
        prometheus = f"http://{stage.address('prometheus')}/-/ready"
        self._start("prometheus", parts.prometheus(), lambda: _answers(prometheus))
        self._start("ray-head", parts.ray_head(), self.cluster.healthy, restarts=_RESTARTS)
        for _ in range(WORKER_NODES):
            self.join_node()
        self.roll_out(None)
        if not wait_until(self.whole, _START_S):
            raise StackError(f"not every worker serves; see {stage.folder / 'logs'}")

    def down(self) -> list[str]:
        """Stop every part; the names of those that had to be killed. The folder stays."""
        started = self.processes.parts()
        order = ["prometheus", *sorted(p for p in started if p.startswith("worker")), "ray-head"]
        order += ["proxy", *sorted(p for p in started if p.startswith("api")), "objects", "valkey"]
        killed = [part for part in order if part in started and not self.stop(part)]
        shutil.rmtree(self.stage.ray_folder, ignore_errors=True)
        for left in Path("/tmp").glob("seaweedfs-*.sock"):
            if left.stem.endswith(tuple(f"-{port}" for port in self.stage.ports.values())):
                left.unlink(missing_ok=True)
        (self.stage.folder / "stage.json").unlink()
        return killed

    def stop(self, part: str) -> bool:
        """End a part within its grace; False: it had to be killed."""
        return self.processes.stop(part, _GRACE_S.get(part.split("-")[0], _GRACE_OTHER_S))

    def status(self) -> dict[str, int]:
        """How many processes each part has; 0: it ended by itself."""
        return {part: len(self.processes.pids(part)) for part in self.processes.parts()}

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        """A client of the API by the balancer, that trusts this staging's certificate alone."""
        trusted = ssl.create_default_context(cafile=self.stage.ca)
        headers = {"Authorization": f"Bearer {key or self.stage.key}"}
        return httpx.Client(base_url=self.stage.url, verify=trusted, headers=headers, **options)

    def whole(self) -> bool:
        """The API is ready, and there is a worker on each node."""
        return self.answers("/readyz") and self.cluster.running() == WORKER_NODES

    def answers(self, path: str) -> bool:
        try:
            with self.client(timeout=5) as client:
                return client.get(path).is_success
        except httpx.TransportError:
            return False

    def start_objects(self) -> None:
        health = f"http://{self.stage.address('s3')}/healthz"
        self._start("objects", self.parts.objects(), lambda: _answers(health))

    def balanced(self, number: int) -> bool:
        """Whether the balancer sends requests to a replica of the API."""
        text = httpx.get(f"http://{self.stage.address('proxy_stats')}/metrics").text
        up = f'haproxy_server_status{{proxy="api",server="api-{number}",state="UP"}} 1'
        return up in text.splitlines()

    def jobs_running(self) -> int:
        """As the queue's gauge says, which every replica of the API reads alike."""
        with self.client(self.stage.secrets["RETAKE_METRICS_KEY"]) as client:
            lines = client.get("/metrics").text.splitlines()
        return int(float(next(x.split()[1] for x in lines if x.startswith("retake_jobs_running"))))

    def start_api(self, number: int) -> None:
        health = f"http://{self.stage.address(f'api_{number}')}/healthz"
        self._start(f"api-{number}", self.parts.api(number), lambda: _answers(health))

    def join_node(self) -> str:
        """Start a further worker node; its name, once the head knows it."""
        numbers = [int(part.split("-")[1]) for part in self.processes.parts() if "worker" in part]
        self._joined = max([self._joined, *numbers]) + 1
        name = f"worker-{self._joined}"

        def known() -> bool:
            return name in self.cluster.nodes()

        self._start(name, self.parts.worker(name), known, restarts=_RESTARTS)
        return name

    def stop_node(self, name: str) -> bool:
        """As a rollout of machines stops it: it ends its job first. False: it had to be killed."""
        clean = self.stop(name)
        (self.stage.targets / f"{name}.json").unlink()
        return clean

    def lose_node(self, name: str) -> None:
        """All its processes at once, as where a machine is lost."""
        self.processes.kill(name)
        (self.stage.targets / f"{name}.json").unlink()

    def roll_out(self, version: str | None) -> None:
        """Deploy the application; another ``version`` replaces every replica of the one before."""
        config = DEPLOY / "serve.yaml"
        if version is not None:
            changed = yaml.safe_load(config.read_text())
            (application,) = changed["applications"]
            application["runtime_env"] = {"env_vars": {"STAGING_VERSION": version}}
            config = self.stage.folder / f"serve-{version}.yaml"
            config.write_text(yaml.safe_dump(changed))
        self._run("application", self.parts.application(config))

    def _start(
        self, name: str, part: Part, ready: Callable[[], bool], *, restarts: int = 0
    ) -> None:
        """``restarts``: how often a part that ends before it is ready is started again."""
        child = self.processes.start(name, part.command, part.environment, ROOT)
        deadline = time.monotonic() + _START_S
        while not ready():
            ended = child.poll() is not None
            if ended or time.monotonic() > deadline:
                self.processes.kill(name)  # what it began, too
                if not ended or not restarts:
                    raise StackError(f"{name} did not start: {self._last_words(name)}")
                restarts -= 1
                child = self.processes.start(name, part.command, part.environment, ROOT)
            time.sleep(0.1)

    def _run(self, name: str, part: Part) -> None:
        """A part that ends by itself."""
        with self.processes.log(name).open("ab") as output:
            done = subprocess.run(
                part.command, env=part.environment, cwd=ROOT, stdout=output, stderr=output
            )
        if done.returncode:
            raise StackError(f"{name} failed: {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        path = self.processes.log(name)
        return "\n".join([*path.read_text(errors="replace").splitlines()[-10:], f"see {path}"])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
