"""Stops the embedded stack while one video is made and twenty wait, and looks at what is left.

``python -m bench.drain``. The running job may end, or is handed back; those that wait are begun by
nobody. All of it must be over within the drain's time-out, with no process, port or folder of the
stack's left, and every job must be there when it is started again.
"""

import argparse
import os
import socket
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx

from bench.processes import processes
from bench.report import print_figures
from retake.session import session_pids
from retake.stack import Stack
from storage.embedded.process_folders import folders_of

QUEUED = 20
OPEN = ("queued", "in_progress")


def measure(data: Path, *, drain_timeout_s: float, steps: int) -> dict[str, int | float]:
    """Figures of one stop with a backlog. ``steps``: of each job."""
    before = set(processes(""))
    stack = Stack(data, env={"RETAKE_DRAIN_TIMEOUT_S": f"{drain_timeout_s:g}"})
    with httpx.Client(base_url=stack.base_url, timeout=60) as client:
        stack.start()
        try:
            stack.wait_ready()
            ids = submit(client, 1 + QUEUED, steps)
            wait_for_start(client, ids[0])
            workers = stack.pids["workers"]
        finally:
            began = time.monotonic()
            stack.stop()
        seconds = time.monotonic() - began
    left = set(processes("")) - before
    figures = {
        "queued": QUEUED,
        "drain_timeout_s": drain_timeout_s,
        "seconds": round(seconds, 1),
        "overran": int(seconds > drain_timeout_s),
        "killed": int(stack.killed),
        "left_processes": len(left | set(session_pids(workers))),
        "left_ports": listens(stack.port),
        "left_folders": len(folders_of(workers)),
    }
    return {**figures, **again(data, ids)}


def submit(client: httpx.Client, count: int, steps: int) -> list[str]:
    body = {"prompt": "a red circle moves to the right", "num_inference_steps": steps}
    answers = [client.post("/videos", json={**body, "seed": seed}) for seed in range(count)]
    return [answer.raise_for_status().json()["id"] for answer in answers]


def wait_for_start(client: httpx.Client, video_id: str) -> None:
    while client.get(f"/videos/{video_id}").json()["progress"] == 0:
        time.sleep(0.05)


def listens(port: int) -> int:
    with closing(socket.socket()) as probe:
        return int(probe.connect_ex(("127.0.0.1", port)) == 0)


def again(data: Path, ids: list[str]) -> dict[str, int]:
    """Started anew: how many jobs are lost, and how many attempts the drain has used up."""
    stack = Stack(data)
    with stack, httpx.Client(base_url=stack.base_url, timeout=60) as client:
        wait_for_api(client)
        found = [client.get(f"/videos/{video_id}") for video_id in ids]
        failed = [each for each in found if each.is_success and each.json()["status"] == "failed"]
        for video_id in ids:
            client.delete(f"/videos/{video_id}")
    return {"lost": sum(not each.is_success for each in found), "failed": len(failed)}


def wait_for_api(client: httpx.Client) -> None:
    while True:
        try:
            client.get("/videos").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drain-timeout-s", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=50)
    chosen = parser.parse_args()
    os.environ.pop("RETAKE_DRAIN_TIMEOUT_S", None)
    with tempfile.TemporaryDirectory(prefix="rd-") as folder:
        print_figures(
            measure(Path(folder), drain_timeout_s=chosen.drain_timeout_s, steps=chosen.steps)
        )


if __name__ == "__main__":
    main()
