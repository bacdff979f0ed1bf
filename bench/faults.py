"""Kills, stops and breaks every part of a running service, and counts what was lost.

``python -m bench.faults --runs 200 --seed 1``. Each run submits two generations, two edits and a
job that is cancelled, then does one thing of ``bench.fault_stack.FAULTS`` at a random moment. After
it every accepted job must have ended, once, and every completed video must have the bytes of an
undisturbed run of the same request. ``recovery``: from the fault to the end of the last job.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from redis import RedisError

from bench.fault_stack import FAULTS, FaultStack, open_stack
from bench.processes import processes
from bench.report import Cell, print_figures, print_table
from schemas.artifacts import artifact_id
from schemas.jobs import Job
from storage.artifact_index import ArtifactIndex
from storage.connect import open_objects, open_redis
from storage.jobs.jobs import open_jobs
from storage.retention.index_repair import repair
from storage.retention.video_files import collect_videos

ENDED = ("completed", "failed")
DEADLINE_S = 180.0
STEPS = 100  # some seconds of the tiny model, for the fault to fall into

Body = dict[str, Any]


@dataclass
class Tally:
    """What went wrong over all runs, and how long each fault took to be over.

    ``relisted``: artifacts that Redis had refused, ``unlisted``: that nobody finds in the end.
    """

    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    failed: int = 0
    hit: int = 0
    relisted: int = 0
    unlisted: int = 0
    recovery_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Bench:
    """``steps``: of each job. ``within_s``: the latest that a fault comes after the last submit."""

    def __init__(self, stack: FaultStack, seed: int, *, steps: int, within_s: float) -> None:
        self.steps, self.within_s = steps, within_s
        self.stack, self.chance, self.tally = stack, random.Random(seed), Tally()
        self.jobs = open_jobs(open_redis(stack.settings.storage))
        self.objects = open_objects(stack.settings.storage)
        self.artifacts = ArtifactIndex(open_redis(stack.settings.storage))
        self.client = httpx.AsyncClient(base_url=f"{stack.base_url}/v1", timeout=30)
        self.undisturbed: dict[str, bytes] = {}

    async def submit(self, path: str, body: Body) -> str:
        """Until it is accepted: a client that was not answered asks again, with the same key."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.client.post(path, json=body, headers=headers)
                if answer.is_success:
                    video_id: str = answer.json()["id"]
                    return video_id
                if answer.status_code < 500:
                    raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{path}: not accepted within {DEADLINE_S:g} s")

    async def wait_for_end(self, video_id: str) -> Job | None:
        """The job once it has ended; None: it is lost."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(RedisError):  # it may be down just now
                job = await self.jobs.store.get("default", video_id)
                if job.state.status in ENDED:
                    return job
            await asyncio.sleep(0.05)
        return None

    async def video(self, job: Job) -> bytes:
        result = job.state.result
        assert result is not None
        return await asyncio.to_thread(self.objects.get, result.video_key)

    async def prepare(self) -> None:
        """Undisturbed videos, by what decides their bytes."""
        for path, body in self.requests():
            job = await self.wait_for_end(await self.submit(path, body))
            if job is None or job.state.status != "completed":
                raise RuntimeError(f"the undisturbed run of {body} did not complete")
            self.undisturbed[job.spec.source_key] = await self.video(job)

    def requests(self) -> list[tuple[str, Body]]:
        dog: Body = {"prompt": "a dog", "num_inference_steps": self.steps, "capture": False}
        car: Body = {"prompt": "a car", "num_inference_steps": self.steps, "seed": 7}
        return [
            *[("/videos", {**dog, "seed": seed}) for seed in (1, 2)],
            ("/videos", {**car, "capture": True}),
            ("/videos/edits", {"prompt": "a red car", "source": car}),
        ]

    async def run(self, fault: str) -> None:
        await self.forget()
        chosen = self.requests()
        self.chance.shuffle(chosen)
        work = [*chosen, self.chance.choice(chosen)]
        cancelled = len(work) - 1
        ids = [await self.submit(path, body) for path, body in work]
        await asyncio.sleep(self.chance.uniform(0, self.within_s))
        self.tally.hit += bool(await self.jobs.maintenance.count_open("default"))
        began = time.monotonic()
        doing = asyncio.create_task(self.stack.do(fault, self.chance))
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        cancelling = asyncio.create_task(self.submit(f"/videos/{ids[cancelled]}/cancel", {}))
        jobs = [await self.wait_for_end(video_id) for video_id in ids]
        self.tally.recovery_s[fault].append(time.monotonic() - began)
        await asyncio.gather(doing, cancelling)
        self.tally.relisted += await repair(self.objects, self.artifacts)  # as the sweeper does
        for video_id, job in zip(ids, jobs, strict=True):
            await self.judge(fault, video_id, job)
        self.stack.proxy.faults.clear()

    async def forget(self) -> None:
        """Delete the stored attention, so that each run captures anew."""
        found = (await self.client.get("/attention/artifacts")).raise_for_status().json()
        for artifact in found["data"]:
            path = f"/attention/artifacts/{artifact['id']}"
            (await self.client.delete(path)).raise_for_status()

    async def judge(self, fault: str, video_id: str, job: Job | None) -> None:
        if job is None:
            self.tally.lost += 1
            print(f"LOST {video_id} after: {fault}", flush=True)
            return
        ends = [event for event in await self.jobs.events.read_all(video_id) if event.type in ENDED]
        if len(ends) != 1:
            self.tally.doubled += 1
            print(f"DOUBLED {video_id} after: {fault}", flush=True)
        if job.state.status == "failed":
            if job.state.error is None or job.state.error.code != "cancelled":
                self.tally.failed += 1
                print(f"failed {video_id} after: {fault}: {job.state.error}", flush=True)
        elif await self.video(job) != self.undisturbed[job.spec.source_key]:
            self.tally.unequal += 1
            result = job.state.result
            how = result.attention if result is not None else "?"
            print(f"UNEQUAL {video_id} (attention {how}) after: {fault}", flush=True)

    async def unlisted(self) -> int:
        """Artifacts that are stored and that nobody finds."""
        keys = [PurePosixPath(info.key) for info in self.objects.list("manifests")]
        names = [("default", artifact_id(key.parent.name, key.stem)) for key in keys]
        return len(await self.artifacts.list_missing(names))

    async def orphans(self) -> int:
        """Files of no video that are left after the collector ran."""
        await collect_videos(self.objects, self.jobs.store, 0)
        kept, last, more = set(), None, True
        while more:
            page, more = await self.jobs.store.list("default", after=last, limit=1000, order="asc")
            last = page[-1].spec.id
            results = [job.state.result for job in page]
            kept |= {each.video_key.rsplit("/", 1)[0] for each in results if each is not None}
        return sum(info.key.rsplit("/", 1)[0] not in kept for info in self.objects.list("videos"))


async def measure(
    stack: FaultStack, runs: int, seed: int, *, steps: int = STEPS, within_s: float = 2.0
) -> tuple[Tally, int]:
    """All faults in turn, ``runs`` of them; what went wrong, and how many files are orphans."""
    bench = Bench(stack, seed, steps=steps, within_s=within_s)
    await bench.prepare()
    faults = list(FAULTS)
    for number in range(runs):
        fault = faults[number % len(faults)]
        await bench.run(fault)
        print(f"run {number + 1} of {runs}: {fault}", flush=True)
    bench.tally.unlisted = await bench.unlisted()
    return bench.tally, await bench.orphans()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=22)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        with open_stack(Path(folder)) as stack:
            tally, orphans = asyncio.run(measure(stack, chosen.runs, chosen.seed))
        leaked = processes("")
    leaked = [pid for pid in leaked if pid in processes("")]
    rows: list[list[Cell]] = [
        [fault, len(times), statistics.median(times), max(times)]
        for fault, times in tally.recovery_s.items()
    ]
    print_table(["fault", "runs", "recovery p50 s", "max s"], rows)
    times = sorted(time for each in tally.recovery_s.values() for time in each)
    print_figures(
        {
            "runs": chosen.runs,
            "lost": tally.lost,
            "doubled": tally.doubled,
            "unequal": tally.unequal,
            "failed": tally.failed,
            "unlisted_artifacts": tally.unlisted,
            "relisted_artifacts": tally.relisted,
            "hit_a_running_job": tally.hit,
            "orphans": orphans,
            "leaked_processes": len(leaked) - 1,
            "recovery_p50_s": round(statistics.median(times), 2),
            "recovery_p99_s": round(times[int(0.99 * (len(times) - 1))], 2),
        }
    )


if __name__ == "__main__":
    main()
