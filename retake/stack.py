"""The embedded stack: Valkey, workers and API as child processes of one command.

They are the processes of production with other settings: Valkey from its wheel instead of a Redis,
a folder instead of S3, a local Ray. They share only Redis and the object store; this module starts
them, watches them, and stops them in an order that loses nothing.
"""

import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from retake.part_logs import PartLog
from retake.session import kill_session
from storage.embedded import watchdog
from storage.embedded.valkey import EmbeddedValkey

log = logging.getLogger("retake.stack")
PARTS = ("service", "workers")
STACK_LOCK = "stack.lock"
REDIS_URL = "redis.url"  # of the embedded Valkey, for commands beside the stack
WORKERS_NEED = ("torch", "ray", "diffusers")
LEFTOVERS_S = 120.0  # a killed stack's workers drain, and wait for a Redis that is gone
_DRAIN_S = 30.0  # the workers' own default
_BEYOND_DRAIN_S = 90.0  # a job's last step, and Ray's own end
_API_STOP_S = 60.0


class StackError(Exception):
    """A process did not start or ended by itself; the message names it, its log and the cause."""


class Stack:
    """Valkey, API and workers on this machine, with all state under ``data``.

    ``redis_url``, ``object_url``: stores of one's own, instead of those under ``data``. ``env``
    adds RETAKE_* settings for the processes. ``before_api`` is called with the Redis' URL once
    that is up, ``say`` with what a person should know. Use as a context manager: leaving it drains
    the workers (a running job is finished or handed back), then stops the API, then Valkey.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        env: Mapping[str, str] = {},
        redis_url: str | None = None,
        object_url: str | None = None,
        before_api: Callable[[str], None] = lambda redis_url: None,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self.data = data.resolve()
        self.host = host
        self.port = port or free_port()
        self._extra_env = dict(env)
        self._redis_url, self._object_url = redis_url, object_url
        self._before_api, self._say = before_api, say
        self._valkey = EmbeddedValkey()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.killed = False  # a process had to be, rather than stop by itself
        self._logs = {name: PartLog(self.data / "logs" / f"{name}.log") for name in PARTS}
        self._lock: int | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The processes' ids while they run, by their names."""
        return {name: child.pid for name, child in self._children.items()}

    @property
    def base_url(self) -> str:
        return f"{self._address}/v1"

    @property
    def studio_url(self) -> str:
        return f"{self._address}/studio"

    @property
    def _address(self) -> str:
        """Where this machine finds the API, whatever address is listened on."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

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
        """Start every process; returns before they are ready, see ``wait_ready``. StackError:
        another stack runs on ``data``, or something else listens on the port."""
        (self.data / "objects").mkdir(parents=True, exist_ok=True)
        (self.data / "logs").mkdir(exist_ok=True)
        _check_installed()
        self._lock = watchdog.hold(self.data / STACK_LOCK)
        if self._lock is None:
            raise StackError(f"another stack runs on {self.data}: `retake drain` stops it")
        try:
            self._wait_for_leftovers()
            self._check_port()
            (self.data / REDIS_URL).unlink(missing_ok=True)
            redis_url = self._redis_url or self._start_valkey()
            self._before_api(redis_url)
            env = self._environment(redis_url)
            for name in PARTS:
                self._children[name] = self._spawn(name, env)
        except BaseException:
            self.stop()
            raise

    def _start_valkey(self) -> str:
        try:
            url = self._valkey.start(self.data / "valkey")
        except RuntimeError as error:
            raise StackError(f"Valkey does not start on {self.data}: {error}") from error
        (self.data / REDIS_URL).write_text(url)
        return url

    def _environment(self, redis_url: str) -> dict[str, str]:
        return {
            **os.environ,
            "RETAKE_OBJECT_URL": self._object_url or (self.data / "objects").as_uri(),
            "RETAKE_REDIS_URL": redis_url,
            "RETAKE_HOST": self.host,
            "RETAKE_PORT": str(self.port),
            **self._extra_env,
        }

    def _wait_for_leftovers(self) -> None:
        """Wait for what a stack that was killed left behind: its parts end by themselves."""
        locks = [*(self.data / f"{name}.lock" for name in PARTS), self.data / "valkey/valkey.lock"]
        held = [lock for lock in locks if watchdog.is_held(lock)]
        if held:
            self._say("The parts of the stack before are still ending; waiting for them")
        deadline = time.monotonic() + LEFTOVERS_S
        while held := [lock for lock in held if watchdog.is_held(lock)]:
            if time.monotonic() > deadline:
                raise StackError(
                    f"{held[0].stem} of another stack still runs on {self.data} after "
                    f"{LEFTOVERS_S:g} s: end that process first"
                )
            time.sleep(0.1)

    def _check_port(self) -> None:
        """Before anything is started: else whoever listens there would be taken for this stack."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise StackError(
                    f"cannot listen on port {self.port} of {self.host}: {error.strerror}; choose "
                    "another with --port"
                ) from None

    def _spawn(self, name: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # it ends with this process, however that ends, and a folder has one stack; -P: a folder
        # called `service` where the command is given is not ours
        command = watchdog.wrap([sys.executable, "-P", "-m", name], self.data / f"{name}.lock")
        with self._logs[name].open() as output:
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
                if httpx.get(f"{self._address}/readyz", timeout=2).is_success:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.1)
        raise StackError(f"not ready after {timeout_s:g} s; see {self.data / 'logs'}")

    def check(self) -> None:
        """Start Valkey again if it has ended; raise StackError if another process has."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise StackError(
                    f"{name} ended with status {child.returncode}: {self._logs[name].cause()}\n"
                    f"Its log is {self._logs[name].path}"
                )
        if self._children and not self._redis_url and self._valkey.pid is None:
            self._restart_valkey()

    def _restart_valkey(self) -> None:
        try:
            status = self._valkey.restart()
        except RuntimeError as error:
            raise StackError(f"Valkey ended and does not start again: {error}") from error
        self._say(f"Valkey ended with status {status}, and was started again from its file")

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
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _drain_s(self) -> float:
        name = "RETAKE_DRAIN_TIMEOUT_S"
        return float(self._extra_env.get(name) or os.environ.get(name) or _DRAIN_S)


def _check_installed() -> None:
    """Raise StackError where the package was installed without what workers need."""
    missing = [name for name in WORKERS_NEED if importlib.util.find_spec(name) is None]
    if missing:
        raise StackError(
            f"the workers need {' and '.join(missing)}, which this Python has not: install "
            "retake with its extra `workers`, as in pip install 'retake[workers]'"
        )


def free_port() -> int:
    """A TCP port of the loopback interface on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
