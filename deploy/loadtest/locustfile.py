"""Users of a running service: what they request, how often, and how their number changes.

    locust -f deploy/loadtest/locustfile.py --headless --host http://127.0.0.1:8000 --csv runs/load

Stages (``STAGES``): ramp up, plateau, burst, ramp down. The mix: of ten jobs, six are generations,
three are edits of one of the user's own videos, and one is cancelled. Users poll a job every second
until it ends, page through their list, and pause in between. At the end a summary shows how long
jobs took, by kind; the exit status is 1 if a request or a job failed.
``RETAKE_API_KEY``: a key, if the service requires one. ``RETAKE_STEPS``: steps of each job (4).
"""

import os
import random
import statistics
import time
from collections import defaultdict
from typing import Any, ClassVar

from locust import HttpUser, LoadTestShape, between, events, task
from locust.env import Environment

STEPS = int(os.environ.get("RETAKE_STEPS", "4"))
PATIENCE_S = 600.0
# (until second, users, users that come or go per second)
STAGES = ((30, 5, 1), (120, 20, 2), (150, 40, 10), (210, 20, 5), (240, 0, 5))
SCENES = ("A car is driving on the highway.", "A boat sails at sunset.", "A dog runs on the grass.")
CHANGES = ("in the winter", "at night", "in red")

seconds_of: dict[str, list[float]] = defaultdict(list)
unended: list[str] = []


class Stages(LoadTestShape):
    """How many users there are, by the time since the start."""

    def tick(self) -> tuple[int, float] | None:
        now = self.get_run_time()  # type: ignore[no-untyped-call]  # locust's
        for until, users, rate in STAGES:
            if now < until:
                return users, rate
        return None


class Director(HttpUser):
    """Generates videos, and edits some of them."""

    wait_time = between(1, 5)
    headers: ClassVar[dict[str, str]] = {}

    def on_start(self) -> None:
        key = os.environ.get("RETAKE_API_KEY")
        if key:
            self.client.headers["Authorization"] = f"Bearer {key}"
        self.finished: list[dict[str, Any]] = []

    @task(6)
    def generate(self) -> None:
        body = {"prompt": random.choice(SCENES), "num_inference_steps": STEPS, "capture": True}
        self._follow("generation", self._submit("/v1/videos", body))

    @task(3)
    def remix(self) -> None:
        if not self.finished:
            return
        source = random.choice(self.finished)
        body = {"prompt": f"{source['prompt']} {random.choice(CHANGES)}"}
        path = f"/v1/videos/{source['id']}/remix"
        self._follow("edit", self._submit(path, body, "/v1/videos/[id]/remix"))

    @task(1)
    def change_of_mind(self) -> None:
        video = self._submit("/v1/videos", {"prompt": SCENES[0], "num_inference_steps": STEPS})
        if video is not None:
            self.client.post(f"/v1/videos/{video['id']}/cancel", name="/v1/videos/[id]/cancel")

    @task(2)
    def look_back(self) -> None:
        self.client.get("/v1/videos?limit=20", name="/v1/videos?limit=20")

    def _submit(self, path: str, body: dict[str, Any], name: str | None = None) -> Any:
        with self.client.post(path, json=body, name=name, catch_response=True) as answer:
            if answer.status_code == 429:
                answer.success()  # a limit that holds is no failure
                time.sleep(float(answer.headers.get("Retry-After", "1")))
                return None
            return answer.json() if answer.ok else None

    def _follow(self, kind: str, video: Any) -> None:
        if video is None:
            return
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_S:
            found = self.client.get(f"/v1/videos/{video['id']}", name="/v1/videos/[id]").json()
            if found.get("status") == "completed":
                seconds_of[kind].append(time.monotonic() - began)
                self.finished = [*self.finished[-9:], found]
                return
            if found.get("status") == "failed":
                break
            time.sleep(1)
        unended.append(video["id"])


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust's
def summarise(environment: Environment, **_: Any) -> None:
    total = environment.stats.total
    p50, p99 = total.median_response_time, total.get_response_time_percentile(0.99)
    print(f"requests {total.num_requests}, failed {total.num_failures}; p50 {p50} ms, p99 {p99} ms")
    for kind, times in sorted(seconds_of.items()):
        usual, longest = statistics.median(times), max(times)
        print(f"{kind}: {len(times)} completed, p50 {usual:.1f} s, longest {longest:.1f} s")
    print(f"jobs that failed or did not end: {len(unended)}")
    environment.process_exit_code = 1 if total.num_failures or unended else 0
