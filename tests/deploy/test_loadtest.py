"""The load test on a running API: what it counts is what happened."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.staging.processes import wait_until
from tests.service.conftest import Api

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "loadtest" / "locustfile.py"
LOCUST = Path(sys.executable).parent / "locust"


class Load:
    """Three users, until ``stop``."""

    def __init__(self, url: str, folder: Path) -> None:
        self._report, self._end = folder / "report.json", folder / "end"
        command = [str(LOCUST), "-f", str(FILE), "--headless", "--only-summary", "--host", url,
                   "--report", str(self._report), "--until", str(self._end),
                   "--stages", "600:3:3", "--steps", "2", "--stop-timeout", "10"]  # fmt: skip
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def stop(self) -> tuple[int, dict[str, Any]]:
        """The exit status, and what was counted."""
        self._end.touch()
        status = self._child.wait(120)
        found: dict[str, Any] = json.loads(self._report.read_text())
        return status, found


def test_every_job_is_followed_to_its_end_and_edits_are_among_them(
    api: Api, tmp_path: Path
) -> None:
    known = {video["id"] for video in videos(api)}

    def edits() -> int:
        return sum(v["remixed_from_video_id"] is not None for v in made(api, known))

    load = Load(api.url, tmp_path)
    enough = wait_until(lambda: edits() >= 2, 90)
    status, figures = load.stop()
    assert enough
    assert (status, figures["errors"], figures["unended"], figures["failed"]) == (0, 0, 0, 0)
    assert figures["ids"].keys() == {video["id"] for video in made(api, known)}
    assert figures["jobs"] == len(figures["ids"])
    assert sum(kind == "edit" for kind in figures["ids"].values()) == edits()
    assert figures["requests"] == len((tmp_path / "report.jsonl").read_text().splitlines())


def test_a_service_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        load = Load(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path)
        server.accept()[0].close()  # asked, and gone without a word
    status, figures = load.stop()
    assert status == 1
    assert figures["errors"] == figures["requests"] > 0
    assert figures["jobs"] == 0


def videos(api: Api) -> list[dict[str, Any]]:
    answer = api.http.get(f"{api.url}/v1/videos", params={"limit": 100})
    found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    return found


def made(api: Api, known: set[str]) -> list[dict[str, Any]]:
    return [video for video in videos(api) if video["id"] not in known]
