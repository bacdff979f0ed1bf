"""The stack of `retake serve` on this machine's GPUs, and what its callers do with it."""

import asyncio
import contextlib
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from retake.client import Client, Json
from retake.stack import Stack
from retake.videos import Frames, read_video
from schemas.jobs import Event
from service.request.auth import DEFAULT_PROJECT
from storage.connect import open_redis
from storage.jobs.jobs import Jobs, open_jobs
from storage.settings import StorageSettings
from workers.model_settings import ModelSettings

_PHASES = re.compile(r"job=(\S+) made (.*)")
_LOGGED_S = 30.0
Answer = TypeVar("Answer")


class Call(NamedTuple):
    """One video as its caller saw it: seconds from the request to "completed"."""

    video: Json
    seconds: float

    @property
    def id(self) -> str:
        return str(self.video["id"])


class StepTimes(NamedTuple):
    """Of one job, in seconds by Redis' clock.

    ``first``: from accepted to the end of the first step. ``step``: the median of the others.
    ``behind``: from the end of the last step to completed.
    """

    first: float
    step: float
    behind: float


class Rate(NamedTuple):
    per_second: float
    ids: list[str]


@dataclass
class Service:
    """A running stack and a client of it."""

    folder: Path
    replicas: int
    client: Client

    def make(self, body: Json, *, remix: str | None = None) -> Call:
        """A video, waited for by its events; RuntimeError if it did not complete."""
        began = time.perf_counter()
        return self.wait(self.send(body, remix), began)

    def wait(self, video_id: str, began: float) -> Call:
        """Until it has completed; ``began``: when it was asked for, by ``perf_counter``."""
        for _ in self.client.events(video_id):
            pass
        seconds = time.perf_counter() - began
        return Call(self.completed(video_id), seconds)

    def send(self, body: Json, remix: str | None = None) -> str:
        """The id of the accepted video."""
        sent = self.client.remix(remix, **body) if remix else self.client.create(**body)
        return str(sent["id"])

    def completed(self, video_id: str) -> Json:
        video = self.client.get(video_id)
        if video["status"] != "completed":
            raise RuntimeError(f"{video_id} is {video['status']}: {video['error']}")
        return video

    def rate(self, bodies: Sequence[Json], remixed: Sequence[str] = ()) -> Rate:
        """With all replicas busy; the first two videos of each only warm it up.

        ``remixed``: the sources that the bodies are edits of, in turn.
        """
        ids = []
        for place, body in enumerate(bodies):
            ids.append(self.send(body, remixed[place % len(remixed)] if remixed else None))
        for video_id in ids:
            for _ in self.client.events(video_id):
                pass
            self.completed(video_id)
        ends = sorted(events[-1].at_ms for events in self.events(ids))[2 * self.replicas :]
        return Rate(1000 * (len(ends) - 1) / (ends[-1] - ends[0]), ids)

    def frames(self, video_id: str) -> Frames:
        return read_video(self.file(video_id))

    def file(self, video_id: str) -> Path:
        """The mp4, downloaded."""
        path = self.folder / f"{video_id}.mp4"
        return path if path.exists() else self.client.download(video_id, path)

    def events(self, ids: Sequence[str]) -> list[list[Event]]:
        async def read(jobs: Jobs) -> list[list[Event]]:
            return [await jobs.events.read_all(video_id) for video_id in ids]

        return self._ask(read)

    def step_times(self, video_id: str) -> StepTimes:
        (events,) = self.events([video_id])
        at = [event.at_ms / 1000 for event in events if event.type == "progress"]
        steps = [later - sooner for sooner, later in pairwise(at)]
        accepted, completed = events[0].at_ms / 1000, events[-1].at_ms / 1000
        return StepTimes(at[0] - accepted, statistics.median(steps), completed - at[-1])

    def attempts(self, video_id: str) -> int:
        async def read(jobs: Jobs) -> int:
            return (await jobs.store.get(DEFAULT_PROJECT, video_id)).state.attempts

        return self._ask(read)

    def phases(self, video_id: str) -> dict[str, float]:
        """Seconds by phase, from the line that the worker logs behind a job."""
        deadline = time.monotonic() + _LOGGED_S
        while time.monotonic() < deadline:  # Ray passes its processes' lines on after a while
            for found in _PHASES.finditer((self.folder / "logs" / "workers.log").read_text()):
                if found[1] == video_id:
                    pairs = (pair.split("=") for pair in found[2].split())
                    return {name: float(seconds) for name, seconds in pairs}
            time.sleep(0.1)
        raise RuntimeError(f"the workers' log has no line of {video_id}")

    def _ask(self, ask: Callable[[Jobs], Awaitable[Answer]]) -> Answer:
        """What ``ask`` finds in the stack's own Valkey."""
        url = f"unix://{self.folder}/valkey/valkey.sock"

        async def run() -> Answer:
            redis = open_redis(StorageSettings(redis_url=url, object_url="file:///unused"))
            try:
                return await ask(open_jobs(redis))
            finally:
                await redis.aclose()

        return asyncio.run(run())


@contextlib.contextmanager
def open_service(
    folder: Path,
    *,
    gpus: int,
    replicas: int = 1,
    models: Sequence[ModelSettings] = (),
    timeout_s: float = 600.0,
) -> Iterator[Service]:
    """Started, with every replica ready, and stopped. All state is in ``folder``: the next stack
    on it, of whatever size, finds the videos and artifacts of the one before.
    """
    env = {"RETAKE_REPLICAS": str(replicas), "RETAKE_NUM_GPUS": "1" if gpus else "0"}
    if not gpus:
        env["RETAKE_THREADS"] = "1"
    if models:
        env["RETAKE_MODELS"] = json.dumps([model.model_dump(mode="json") for model in models])
    log = folder / "logs" / "workers.log"
    before = log.stat().st_size if log.exists() else 0
    with Stack(folder, env=env) as stack:
        deadline = time.monotonic() + timeout_s
        stack.wait_ready(timeout_s)
        while b"workers ready" not in log.read_bytes()[before:]:  # all replicas, not one alone
            stack.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all replicas are ready after {timeout_s:g} s; see {log}")
            time.sleep(0.1)
        with Client(stack.base_url, timeout_s=600) as client:
            yield Service(folder, replicas, client)
