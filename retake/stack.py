"""The embedded stack: Valkey, workers and API as child processes of one command.

They are the processes of production with other settings: Valkey from its wheel instead of a Redis,
a folder instead of S3, a local Ray. They share only Redis and the object store; this module starts
them, watches them, and stops them in an order that loses nothing.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from retake.session import kill_session
from storage.embedded import watchdog
from storage.embedded.valkey import EmbeddedValkey

log = logging.getLogger("retake.stack")
_DRAIN_S = 30.0  # the workers' own default
_BEYOND_DRAIN_S = 90.0  # a job's last step, and Ray's own end
_API_STOP_S = 60.0


class StackError(Exception):
    """A process did not start or ended by itself; the message names it and its log."""


class Stack:
    """Valkey, API and workers on this machine, with all state under ``data``.

    ``env`` adds RETAKE_* settings for the processes. Use as a context manager: leaving it drains
    the workers (a running job is finished or handed back), then stops the API, then Valkey.
    """

    def __init__(
        self, data: Path, *, host: str = "127.0.0.1", port: int = 0, env: Mapping[str, str] = {}
    ) -> None:
        self.data = data.resolve()
        self.host = host
        self.port = port or free_port()
        self._extra_env = dict(env)
        self._valkey = EmbeddedValkey()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.killed = False  # a process had to be, rather than stop by itself

    @property
    def pids(self) -> dict[str, int]:
        """The processes' ids while they run, by their names."""
        return {name: child.pid for name, child in self._children.items()}

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def studio_url(self) -> str:
        """Where a browser on this machine finds Studio, whatever address is listened on."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{host}:{self.port}/studio"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every process; returns before they are ready, see ``wait_ready``."""
        (self.data / "objects").mkdir(parents=True, exist_ok=True)
        (self.data / "logs").mkdir(exist_ok=True)
        env = {
            **os.environ,
            "RETAKE_OBJECT_URL": (self.data / "objects").as_uri(),
            "RETAKE_REDIS_URL": self._valkey.start(self.data / "valkey"),
            "RETAKE_HOST": self.host,
            "RETAKE_PORT": str(self.port),
            **self._extra_env,
        }
        try:
            for name in ("service", "workers"):
                self._children[name] = self._spawn(name, env)
        except OSError:
            self.stop()
            raise

    def _spawn(self, name: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # it ends with this process, however that ends, and a folder has one stack
        command = watchdog.wrap([sys.executable, "-m", name], self.data / f"{name}.lock")
        with (self.data / "logs" / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not reach it: ``stop`` keeps the order
            )

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Wait until the API answers and a worker has published a model; raises StackError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check()
            try:
                if httpx.get(f"http://{self.host}:{self.port}/readyz", timeout=2).is_success:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.1)
        raise StackError(f"not ready after {timeout_s:g} s; see {self.data / 'logs'}")

    def check(self) -> None:
        """Raise StackError if a process has ended by itself."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise StackError(
                    f"{name} ended with status {child.returncode}; "
                    f"see {self.data / 'logs' / name}.log"
                )

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop the workers, which drain, then the API, then Valkey.

        ``timeout_s``: of each; None: what a drain may take by the settings. What has not stopped by
        then is killed, with all that it started.
        """
        limits_s = {"workers": self._drain_s() + _BEYOND_DRAIN_S, "service": _API_STOP_S}
        for name, limit_s in limits_s.items():
            child = self._children.pop(name, None)
            if child is None:
                continue
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout_s if timeout_s is not None else limit_s)
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in time: killed", name)
                self.killed = True
                kill_session(child)
        self._valkey.stop()

    def _drain_s(self) -> float:
        name = "RETAKE_DRAIN_TIMEOUT_S"
        return float(self._extra_env.get(name) or os.environ.get(name) or _DRAIN_S)


def free_port() -> int:
    """A TCP port of the loopback interface on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
