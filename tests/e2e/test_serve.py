"""`retake serve` as people start it: it says where Studio is, and opens it only when asked to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import redis

from tests.servers import free_ports

pytestmark = pytest.mark.ray


def test_it_prints_where_studio_is_and_opens_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    main = "from retake.cli import main; main()"  # the console script, wherever it is installed
    command = [sys.executable, "-c", main, "serve", "--open", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")],
        env={**os.environ, "BROWSER": f"{browser} %s", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        address = f"http://127.0.0.1:{port}/studio"
        printed = next(line for line in serving.stdout if "Studio" in line)
        assert printed.strip() == f"Studio: {address}"
        assert "<title>Retake Studio</title>" in httpx.get(address).text
        assert_survives_valkey(tmp_path / "data", f"http://127.0.0.1:{port}/v1/videos")
        serving.send_signal(signal.SIGTERM)
        rest = serving.stdout.read()
    assert "Valkey ended with status -9, and was started again from its file" in rest
    assert "Stopping" in rest
    assert opened.read_text().strip() == address


def assert_survives_valkey(data: Path, videos: str) -> None:
    """What was accepted before the embedded Valkey is killed is known and made after it."""
    body = {"prompt": "A car is driving on the highway.", "num_inference_steps": 1}
    before = httpx.post(videos, json=body).json()
    with redis.Redis.from_url((data / "redis.url").read_text()) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
    after = httpx.post(videos, json={**body, "seed": 2}, timeout=60)
    assert after.status_code == 200, after.text
    for video in (before, after.json()):
        ended = httpx.get(f"{videos}/{video['id']}?wait=60", timeout=90).json()
        assert ended["status"] == "completed", ended
