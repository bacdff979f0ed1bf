"""Users of a running service: what they ask, how often, and how the crowd grows.

    locust -f deploy/loadtest/locustfile.py --headless --host https://retake.example.com

``--stages``: ramp, plateau, burst and ramp down, as ``until:users:rate`` (seconds; users that come
or go per second). They take the place of Locust's own ``-u``, ``-r`` and ``-t``. The mix: of ten
jobs five are generations, four edits of one of the user's own videos, one is cancelled; users look
at a job every second until it ends, page through their list, and think in between.

What the service asks to have tried again (429, 503 with Retry-After) is tried again with the same
Idempotency-Key, as an SDK does; what then still fails, and everything else, is an error. A job is
counted from its acceptance: when the crowd has left, all jobs are followed to their end.

``RETAKE_API_KEY``: a key, where the service asks for one. ``--report`` names a file for the
figures and every job's id as JSON, and beside it, ``.jsonl``, for every request. The exit status
is 1 if a request was an error or a job did not end well.
"""

import json
import os
import random
import statistics
import time
import uuid
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from locust import HttpUser, LoadTestShape, between, events, task
from locust.clients import HttpSession
from locust.env import Environment

STAGES = "30:5:1,120:20:2,150:40:10,210:20:5,240:0:5"
PATIENCE_S = 600.0  # for a job
RETRY_S = 60.0  # for an answer, while it is to be tried again
SDK_RETRIES = 2  # what OpenAI's SDK does if it is told nothing else
SCENES = ("A car is driving on the highway.", "A boat sails at sunset.", "A dog runs on the grass.")
CHANGES = ("in the winter", "at night", "in red")

Json = dict[str, Any]


class Job(NamedTuple):
    kind: str
    accepted: float  # time.time()


class Tally:
    """All that happened, over all users of this process."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.seconds: dict[str, float] = {}  # of those that ended well or were cancelled
        self.failed: dict[str, str] = {}
        self.retried: Counter[int] = Counter()  # by status
        self.beyond_sdk = 0
        self.requests: list[tuple[float, float, str]] = []  # when it ended, ms, "" or what failed

    def ended(self, video: Json) -> bool:
        """Note the end of a job; False: it runs."""
        if video.get("status") not in ("completed", "failed"):
            return False
        job, error = self.jobs[video["id"]], video.get("error") or {}
        if video["status"] == "failed" and error.get("code") != "cancelled":
            self.failed[video["id"]] = str(error.get("code"))
        else:
            self.seconds.setdefault(video["id"], time.time() - job.accepted)
        return True

    @property
    def open(self) -> set[str]:
        return self.jobs.keys() - self.seconds.keys() - self.failed.keys()


tally = Tally()
options = Namespace()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust's
def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--stages", default=STAGES, help="until:users:rate,...")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of each job")
    parser.add_argument("--ca", default="", help="a PEM file of whom to trust")
    parser.add_argument("--until", default="", help="a file that ends all stages once it is there")
    parser.add_argument("--report", default="", help="where the figures are written")


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust's
def read_arguments(environment: Environment, **_: Any) -> None:
    vars(options).update(vars(environment.parsed_options))


@events.request.add_listener  # type: ignore[untyped-decorator]  # locust's
def note_request(response_time: float, exception: Exception | None, **_: Any) -> None:
    tally.requests.append((time.time(), response_time, str(exception or "")[:200]))


class Stages(LoadTestShape):
    """The profile that ``--stages`` gives."""

    def tick(self) -> tuple[int, float] | None:
        if options.until and Path(options.until).exists():
            return None
        now = self.get_run_time()  # type: ignore[no-untyped-call]  # locust's
        for stage in options.stages.split(","):
            until, users, rate = stage.split(":")
            if now < float(until):
                return int(users), float(rate)
        return None


def ask(client: HttpSession, method: str, path: str, name: str, body: Json | None = None) -> Json:
    """The answer, tried again for as long as the service asks for it; {}: an error."""
    headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
    deadline, tries = time.monotonic() + RETRY_S, 0
    while True:
        with client.request(
            method, path, name=name, json=body, headers=headers, catch_response=True
        ) as answer:
            if answer.error is None and answer.ok:  # `ok` raises what kept an answer from coming
                tally.beyond_sdk += tries > SDK_RETRIES
                found: Json = answer.json()
                return found
            wait_s = answer.headers.get("Retry-After") if answer.headers else None
            if wait_s is None or answer.status_code not in (429, 503):
                answer.failure(f"{answer.status_code} {answer.text or answer.error}"[:200])
                return {}
            if time.monotonic() > deadline:
                answer.failure(f"{answer.status_code} for {RETRY_S:g} s")
                return {}
            answer.success()  # no error yet: it says when to come again
        tries += 1
        tally.retried[answer.status_code] += 1
        time.sleep(float(wait_s))


class Director(HttpUser):
    """Makes videos, and edits what came out."""

    wait_time = between(1, 5)

    def on_start(self) -> None:
        set_up(self.client)
        self.finished: list[Json] = []
        self.generate()  # something to edit

    @task(5)
    def generate(self) -> None:
        body = {"prompt": random.choice(SCENES), "capture": True}
        self._follow(self._submit("generation", "/v1/videos", body))

    @task(4)
    def remix(self) -> None:
        if not self.finished:
            self.generate()
            return
        source = random.choice(self.finished)
        body = {"prompt": f"{source['prompt']} {random.choice(CHANGES)}"}
        path = f"/v1/videos/{source['id']}/remix"
        self._follow(self._submit("edit", path, body, "/v1/videos/[id]/remix"))

    @task(1)
    def change_of_mind(self) -> None:
        video = self._submit("cancelled", "/v1/videos", {"prompt": SCENES[0]})
        if video:
            path = f"/v1/videos/{video['id']}/cancel"
            ask(self.client, "POST", path, "/v1/videos/[id]/cancel")

    @task(2)
    def look_back(self) -> None:
        ask(self.client, "GET", "/v1/videos?limit=20", "/v1/videos?limit=20")

    def _submit(self, kind: str, path: str, body: Json, name: str | None = None) -> Json:
        if kind != "edit":  # which has its source's
            body = {**body, "num_inference_steps": options.steps}
        video = ask(self.client, "POST", path, name or path, body)
        if video:
            tally.jobs[video["id"]] = Job(kind, time.time())
        return video

    def _follow(self, video: Json) -> None:
        began = time.monotonic()
        while video and time.monotonic() - began < PATIENCE_S:
            path = f"/v1/videos/{video['id']}"
            found = ask(self.client, "GET", path, "/v1/videos/[id]")
            if found and tally.ended(found):
                if found["status"] == "completed":
                    self.finished = [*self.finished[-9:], found]
                return
            time.sleep(1)


def set_up(client: HttpSession) -> None:
    if key := os.environ.get("RETAKE_API_KEY"):
        client.headers["Authorization"] = f"Bearer {key}"
    client.verify = options.ca or True
    client.trust_env = False  # as a user's: the environment's certificates would come before ours


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # locust's
def follow_the_rest(environment: Environment, **_: Any) -> None:
    """The crowd has left; what it began is seen to its end."""
    client = HttpSession(environment.host, environment.events.request, None)
    set_up(client)
    deadline = time.monotonic() + PATIENCE_S
    while tally.open and time.monotonic() < deadline:
        for video_id in sorted(tally.open):
            found = ask(client, "GET", f"/v1/videos/{video_id}", "/v1/videos/[id]")
            if found:
                tally.ended(found)
        time.sleep(1)


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust's
def summarise(environment: Environment, **_: Any) -> None:
    times = sorted(ms for _, ms, _ in tally.requests) or [0.0]
    errors = [what for _, _, what in tally.requests if what]
    figures = {
        "requests": len(tally.requests),
        "errors": len(errors),
        "p50_ms": round(statistics.median(times), 1),
        "p99_ms": round(times[int(0.99 * (len(times) - 1))], 1),
        "jobs": len(tally.jobs),
        "failed": len(tally.failed),
        "unended": len(tally.open),
        "retried": dict(tally.retried),
        "beyond_sdk_retries": tally.beyond_sdk,
    }
    print(json.dumps(figures))
    for kind in sorted({job.kind for job in tally.jobs.values()}):
        took = [s for id, s in tally.seconds.items() if tally.jobs[id].kind == kind] or [0.0]
        print(f"{kind}: {len(took)} ended, p50 {statistics.median(took):.1f} s, {max(took):.1f} s")
    for what, count in Counter(errors).most_common(5):
        print(f"{count} x {what}")
    if report := options.report:
        kinds = {id: job.kind for id, job in tally.jobs.items()}
        ids = {"ids": kinds, "failed_ids": tally.failed, "open_ids": sorted(tally.open)}
        Path(report).write_text(json.dumps(figures | ids))
        lines = [json.dumps(request) for request in tally.requests]
        Path(report).with_suffix(".jsonl").write_text("\n".join([*lines, ""]))
    environment.process_exit_code = 1 if errors or tally.failed or tally.open else 0
