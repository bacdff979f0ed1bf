"""The stack before its parts run: whose folder it is, whose port, and what ended a part."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from retake.part_logs import PartLog
from retake.stack import STACK_LOCK, Stack, StackError
from storage.embedded import watchdog
from tests.servers import free_ports


class FarEnough(Exception):
    """Ends a start once Valkey is up, before the API and Ray."""


def stop_here(redis_url: str) -> None:
    raise FarEnough(redis_url)


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = Stack(tmp_path, port=port, before_api=stop_here)
        with pytest.raises(StackError, match=rf"port {port} of 127.0.0.1: Address already in use"):
            stack.start()
    with pytest.raises(FarEnough):
        stack.start()


def test_a_folder_has_one_stack(tmp_path: Path) -> None:
    first = watchdog.hold(tmp_path / STACK_LOCK)
    assert first is not None
    with pytest.raises(StackError, match="another stack runs on"):
        Stack(tmp_path, before_api=stop_here).start()
    os.close(first)
    with pytest.raises(FarEnough):
        Stack(tmp_path, before_api=stop_here).start()


def test_a_start_waits_for_the_parts_of_a_killed_stack(tmp_path: Path) -> None:
    left = watchdog.hold(tmp_path / "workers.lock")
    assert left is not None
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        os.close(left)  # the last of the parts has ended

    with pytest.raises(FarEnough):
        Stack(tmp_path, before_api=stop_here, say=say).start()
    assert said == ["The parts of the stack before are still ending; waiting for them"]


def test_stores_of_ones_own_are_used(tmp_path: Path) -> None:
    mine = "redis://127.0.0.1:1/0"
    stack = Stack(tmp_path, redis_url=mine, object_url="s3://bucket/x", before_api=stop_here)
    with pytest.raises(FarEnough, match=mine):
        stack.start()
    assert not (tmp_path / "valkey").exists()
    assert stack._environment(mine)["RETAKE_OBJECT_URL"] == "s3://bucket/x"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_the_address_is_one_that_can_be_called(tmp_path: Path, host: str, address: str) -> None:
    stack = Stack(tmp_path, host=host, port=8123)
    assert stack.studio_url == f"http://{address}:8123/studio"


def ended(log: PartLog, **settings: str) -> str:
    """Why the real API ended that was started with these settings."""
    env = {"RETAKE_OBJECT_URL": "file:///tmp", **settings}
    with log.open() as output:
        command = [sys.executable, "-m", "service"]
        done = subprocess.run(
            command, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT, timeout=60
        )
    assert done.returncode
    return log.cause()


def test_the_cause_of_an_end_is_taken_from_the_log(tmp_path: Path, valkey_url: str) -> None:
    log = PartLog(tmp_path / "service.log")
    own = {"RETAKE_REDIS_URL": valkey_url, "RETAKE_REDIS_PREFIX": f"empty-{os.getpid()}"}
    (port,) = free_ports(1)
    assert "no API key exists yet" in ended(log, RETAKE_AUTH="keys", RETAKE_PORT=str(port), **own)
    with socket.create_server(("127.0.0.1", port)):
        cause = ended(log, RETAKE_PORT=str(port), **own)
    assert "address already in use" in cause
    assert "API key" not in cause, "that was the start before"
    assert "only a loopback address may serve without keys" in ended(
        log, RETAKE_AUTH="none", RETAKE_HOST="0.0.0.0", **own
    )


def test_a_part_that_wrote_nothing(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "x.log")
    log.open().close()
    assert log.cause() == "it wrote nothing"


def test_valkey_is_started_again_from_its_file(tmp_path: Path) -> None:
    said: list[str] = []
    stack = Stack(tmp_path, say=said.append)
    stack._children["service"] = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    try:
        url = stack._start_valkey()
        with redis.Redis.from_url(url) as client:
            client.set("kept", "1")
            pid = client.info("server")["process_id"]
            os.kill(pid, signal.SIGKILL)
            while stack._valkey.pid is not None:
                os.sched_yield()
            stack.check()
            assert client.get("kept") == b"1"
            assert client.info("server")["process_id"] != pid
    finally:
        stack.stop()
    assert said == ["Valkey ended with status -9, and was started again from its file"]
