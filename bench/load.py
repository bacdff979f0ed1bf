"""A long queue: what it costs to join it, to stand in it, and to be worked off.

``python -m bench.load``: 10,000 jobs of a model that computes nothing (it takes 50 ms a step and
no core) on an embedded Valkey and a local Ray, first with two workers, then with one.
``busy_share``: seconds that workers spent on jobs, of the seconds that they were there, while
there was a backlog. ``two_over_one``: jobs per second of two workers against one.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from redis.asyncio import Redis

from bench.report import Cell, print_figures, print_table
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.jobs import Jobs, open_jobs
from storage.settings import StorageSettings
from tests.workers.scripted import ScriptedEngine, spec_of
from workers.local import LocalWorkers
from workers.settings import WorkerSettings

STEPS = 8  # 0.4 s a job: the shortest that anyone will ask of a video model


class Worked(NamedTuple):
    per_second: float
    busy_share: float


@contextlib.contextmanager
def workers(storage: StorageSettings, replicas: int) -> Iterator[None]:
    settings = WorkerSettings(storage=storage, replicas=replicas, log_level="warning")
    with LocalWorkers(settings, ScriptedEngine) as running:
        yield
        running.drain(0.1)


async def fill(jobs: Jobs, redis: Redis, count: int) -> dict[str, float]:
    """Queue ``count`` jobs, one call each, as clients do."""
    before = (await redis.info("memory"))["used_memory"]
    took_ms = []
    for number in range(count):
        began = time.perf_counter()
        await jobs.store.submit([spec_of(number, "slow", steps=STEPS)])
        took_ms.append(1000 * (time.perf_counter() - began))
    after = (await redis.info("memory"))["used_memory"]
    tenth = count // 10
    first, last = statistics.median(took_ms[:tenth]), statistics.median(took_ms[-tenth:])
    return {
        "accept_ms_first_tenth": first,
        "accept_ms_last_tenth": last,
        "accept_last_over_first": last / first,
        "bytes_per_queued_job": (after - before) / count,
    }


async def work(jobs: Jobs, count: int, replicas: int) -> Worked:
    """While the next ``count`` jobs are worked off, from the end of one to the end of another."""
    ended: list[tuple[float, float]] = []  # when, and how long it took
    seen: set[str] = set()
    while len(ended) <= count:
        page, _ = await jobs.store.list("tests", after=None, limit=1000, order="asc")
        for job in page:
            if job.state.result is not None and job.spec.id not in seen:
                seen.add(job.spec.id)
                end = int((await jobs.events.read_all(job.spec.id))[-1].id.split("-")[0]) / 1000
                ended.append((end, job.state.result.seconds))
        await asyncio.sleep(0.5)
    ended.sort()
    ended = ended[2 * replicas :]  # without the first, that found the workers idle
    start, stop = ended[0][0], ended[-1][0]
    busy = sum(seconds for _, seconds in ended[1:])
    return Worked((len(ended) - 1) / (stop - start), busy / (replicas * (stop - start)))


async def forget(jobs: Jobs, count: int) -> None:
    """Delete the ended jobs, so that the next measurement starts anew."""
    page, _ = await jobs.store.list("tests", after=None, limit=1000, order="asc")
    for job in page[: 2 * count]:
        if job.state.status in ("completed", "failed"):
            await jobs.store.delete("tests", job.spec.id)


CostModel = TypeVar("CostModel")


def with_jobs(
    storage: StorageSettings, use: Callable[[Jobs, Redis], Awaitable[CostModel]]
) -> CostModel:
    """What ``use`` gives, on a connection of its own."""

    async def run() -> CostModel:
        redis = open_redis(storage)
        try:
            return await use(open_jobs(redis), redis)
        finally:
            await redis.aclose()

    return asyncio.run(run())


def measure(storage: StorageSettings, queued: int, worked: int) -> dict[str, float]:
    figures = with_jobs(storage, lambda jobs, redis: fill(jobs, redis, queued))
    with workers(storage, 2):
        two = with_jobs(storage, lambda jobs, _: work(jobs, 2 * worked, 2))
    with_jobs(storage, lambda jobs, _: forget(jobs, 2 * worked))
    with workers(storage, 1):
        one = with_jobs(storage, lambda jobs, _: work(jobs, worked, 1))
    return figures | {
        "jobs_per_second_two": two.per_second,
        "jobs_per_second_one": one.per_second,
        "busy_share": two.busy_share,
        "busy_share_one": one.busy_share,
        "two_over_one": two.per_second / one.per_second,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--worked", type=int, default=100, help="jobs measured, per worker")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey() as valkey:
        storage = StorageSettings(
            redis_url=valkey.start(Path(folder) / "valkey"), object_url=f"file://{folder}/objects"
        )
        figures = measure(storage, chosen.queued, chosen.worked)
    rows: list[list[Cell]] = [[name, value] for name, value in figures.items()]
    print_table(["what", "value"], rows)
    print_figures({name: round(value, 4) for name, value in figures.items()})


if __name__ == "__main__":
    main()
