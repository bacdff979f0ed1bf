"""Everything that staging goes through, under load: what clients see, what is lost or doubled.

``python -m bench.staging``: the stack of ``scripts/staging`` on a folder of its own, users of
``deploy/loadtest/locustfile.py`` all along, and in turn: the APIs restarted one after the other, a
worker node killed and a new one joined, another version of the application rolled out, the object
store away. ``errors`` is what a client sees that is not a 503 with Retry-After which goes away;
``lost``: accepted jobs without an end or without a film; ``doubled``: with more than one end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench.report import Cell, print_figures, print_table
from deploy.staging.parts import BIN, DEPLOY
from deploy.staging.processes import wait_until
from deploy.staging.stack import Stack
from deploy.staging.stage import API_REPLICAS, WORKER_NODES, Stage

PATIENCE_S = 600.0
OUTAGE_S = 20.0
_ENDS = ("event: completed", "event: failed")


@dataclass
class Phase:
    """A stretch of the run, by time.time(). ``worked``: what was done had the end it should."""

    name: str
    began: float
    ended: float = 0.0
    worked: bool = True


@dataclass
class Course:
    """What is done to the stack, in turn, while users are at it."""

    stack: Stack
    calm_s: float
    phases: list[Phase] = field(default_factory=list)

    def run(self) -> None:
        self.phase("calm", self.calm)
        self.phase("APIs restarted in turn", self.restart_apis)
        self.phase("worker node killed, another joins", self.replace_node)
        self.phase("another version rolled out", self.roll_out)
        self.phase(f"object store away {OUTAGE_S:g} s", self.store_outage)
        self.phase("calm again", self.calm)

    def phase(self, name: str, act: Callable[[], bool]) -> None:
        phase = Phase(name, time.time())
        phase.worked = act()
        phase.ended = time.time()
        self.phases.append(phase)
        print(f"{name}: {phase.ended - phase.began:.0f} s, worked: {phase.worked}", flush=True)

    def calm(self) -> bool:
        time.sleep(self.calm_s)  # there is nothing to wait for: the load itself is measured
        return True

    def restart_apis(self) -> bool:
        for number in range(1, API_REPLICAS + 1):
            clean = self.stack.stop(f"api-{number}")
            self.stack.start_api(number)
            if not clean or not wait_until(partial(self.stack.balanced, number), 60):
                return False
        return True

    def busy(self) -> bool:
        """Until every worker has a job: what is done then hits one."""
        return wait_until(lambda: self.stack.jobs_running() == WORKER_NODES, PATIENCE_S)

    def replace_node(self) -> bool:
        self.busy()
        self.stack.lose_node(min(n for n in self.stack.cluster.nodes() if n.startswith("worker")))
        self.stack.join_node()
        return wait_until(lambda: self.stack.cluster.running() == WORKER_NODES, PATIENCE_S)

    def roll_out(self) -> bool:
        """Until every replica is another one than before, and all of them serve."""
        self.busy()
        before = self.stack.cluster.replicas()
        self.stack.roll_out("next")
        return wait_until(self._replaced(before), PATIENCE_S)

    def _replaced(self, before: set[str]) -> Callable[[], bool]:
        def done() -> bool:
            now, status = self.stack.cluster.replicas(), self.stack.cluster.application()["status"]
            if status == "DEPLOY_FAILED":
                raise RuntimeError("the new version does not run")
            return status == "RUNNING" and len(now) == len(before) and not now & before

        return done

    def store_outage(self) -> bool:
        self.busy()
        self.stack.processes.kill("objects")
        time.sleep(OUTAGE_S)  # the outage itself
        self.stack.start_objects()
        return True


class Load:
    """Locust beside this process, until ``stop``; then all jobs are followed to their end."""

    def __init__(self, stack: Stack, users: int, steps: int, report: Path) -> None:
        self._report, self._end = report, report.with_suffix(".end")
        command = [
            str(BIN / "locust"), "-f", str(DEPLOY / "loadtest" / "locustfile.py"), "--headless",
            "--host", stack.stage.url, "--ca", str(stack.stage.ca), "--report", str(report),
            "--stages", f"86400:{users}:1", "--steps", str(steps), "--only-summary",
            "--stop-timeout", "30", "--until", str(self._end),
        ]  # fmt: skip
        environment = {**os.environ, "RETAKE_API_KEY": stack.stage.key}
        self._log = report.with_suffix(".log").open("wb")
        self._child = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)

    def stop(self) -> dict[str, Any]:
        """What the users saw."""
        self._end.touch()
        self._child.wait(2 * PATIENCE_S)
        self._log.close()
        print(Path(self._log.name).read_text(), flush=True)
        figures: dict[str, Any] = json.loads(self._report.read_text())
        return figures

    def requests(self) -> list[tuple[float, float, str]]:
        lines = self._report.with_suffix(".jsonl").read_text().splitlines()
        return [tuple(json.loads(line)) for line in lines]


def judge(client: httpx.Client, ids: dict[str, str]) -> tuple[list[str], list[str], int]:
    """Ids of the lost and of the doubled, and how often a job was begun again."""
    lost, doubled, attempts = [], [], 0
    for video_id in ids:
        answer = client.get(f"/v1/videos/{video_id}/events")
        ends = sum(answer.text.count(end) for end in _ENDS) if answer.is_success else 0
        attempts += max(0, answer.text.count("event: started") - 1)
        completed = ends and _ENDS[0] in answer.text
        if not ends or (completed and not has_film(client, video_id)):
            lost.append(video_id)
        if ends > 1:
            doubled.append(video_id)
    return lost, doubled, attempts


def has_film(client: httpx.Client, video_id: str) -> bool:
    """Fetched from the store, by the link that the API gives."""
    answer = client.get(f"/v1/videos/{video_id}/content", follow_redirects=False)
    if answer.is_redirect:
        answer = httpx.get(answer.headers["location"], timeout=60)
    return answer.is_success and answer.content[4:8] == b"ftyp"


def table(phases: list[Phase], requests: list[tuple[float, float, str]]) -> None:
    rows: list[list[Cell]] = []
    for phase in phases:
        within = [r for r in requests if phase.began <= r[0] < phase.ended]
        times = sorted(ms for _, ms, _ in within) or [0.0]
        rows.append(
            [phase.name, phase.ended - phase.began, len(within), sum(bool(r[2]) for r in within),
             statistics.median(times), times[int(0.99 * (len(times) - 1))]]
        )  # fmt: skip
    print_table(["phase", "seconds", "requests", "errors", "p50 ms", "p99 ms"], rows)


def measure(stack: Stack, users: int, steps: int, calm_s: float, folder: Path) -> dict[str, object]:
    load = Load(stack, users, steps, folder / "load.json")
    course = Course(stack, calm_s)
    try:
        course.run()
    finally:
        seen = load.stop()
    with stack.client(timeout=60) as client:
        lost, doubled, again = judge(client, seen.pop("ids"))
    table(course.phases, load.requests())
    for name, ids in (("lost", lost), ("doubled", doubled)):
        print(f"{name}: {' '.join(ids) or 'none'}")
    print(f"failed: {seen.pop('failed_ids') or 'none'}")
    del seen["open_ids"]
    failed = [phase.name for phase in course.phases if not phase.worked]
    return {
        "api_replicas": API_REPLICAS,
        "worker_nodes": WORKER_NODES,
        "users": users,
        **seen,
        "lost": len(lost),
        "doubled": len(doubled),
        "attempts_begun_again": again,
        "rollout_failed": sum("rolled out" in name for name in failed),
        "phases_failed": failed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of each job")
    parser.add_argument("--calm", type=float, default=30.0, help="seconds before and after")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rb-") as temporary:
        folder = Path(temporary)
        # one loopback address stands for all users: its project's rate is theirs together
        stack = Stack(Stage.make(folder / "stage"), {"RETAKE_REQUESTS_PER_MINUTE": "6000"})
        try:
            stack.up()
            figures = measure(stack, chosen.users, chosen.steps, chosen.calm, folder)
        finally:
            killed = stack.down()
    print_figures(figures | {"killed_at_stop": killed})
    good = not (figures["errors"] or figures["lost"] or figures["doubled"])
    return 0 if good and not figures["phases_failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
