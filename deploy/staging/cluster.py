"""What the Ray cluster of a staging says of itself, by its dashboard."""

import subprocess
from pathlib import Path
from typing import Any

import httpx

from deploy.staging.parts import Parts

_TIMEOUT_S = 30.0


class Cluster:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        token = parts.stage.secrets["RETAKE_RAY_TOKEN"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self.url = f"http://{parts.stage.address('dashboard')}"

    def healthy(self) -> bool:
        """As the compose file's check of the head says."""
        program, *words = self._parts.compose.service("ray-head").healthcheck
        application = self._parts.application()
        beside = Path(application.command[0]).parent
        done = subprocess.run(
            [beside / program, *words], env=application.environment, capture_output=True
        )
        return done.returncode == 0

    def nodes(self) -> dict[str, str]:
        """Ids of the nodes that live, by their names; empty while the head does not answer."""
        found = self._ask("/api/v0/nodes", "data", "result", "result") or []
        return {node["node_name"]: node["node_id"] for node in found if node["state"] == "ALIVE"}

    def application(self) -> dict[str, Any]:
        """What Serve says of ours: its status, and its deployments with their replicas."""
        return self._ask("/api/serve/applications/", "applications", "retake") or {}

    def replicas(self) -> set[str]:
        """Ids of all replicas that serve, Dispatchers and VideoWorkers."""
        return {
            replica["replica_id"]
            for deployment in self.application().get("deployments", {}).values()
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        }

    def running(self) -> int:
        """How many VideoWorkers serve."""
        worker = self.application().get("deployments", {}).get("VideoWorker", {})
        return sum(replica["state"] == "RUNNING" for replica in worker.get("replicas", []))

    def _ask(self, path: str, *names: str) -> Any:
        try:
            answer = httpx.get(self.url + path, headers=self._headers, timeout=_TIMEOUT_S)
            found = answer.raise_for_status().json()
            for name in names:
                found = found[name]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
        return found
