"""The job store's calls per second against bare Redis commands, and how they grow with the jobs.

``python -m bench.jobs``: an embedded Valkey of its own, one client, calls one after another.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from redis.asyncio import Redis

from bench.report import Cell, median_ratio, print_figures, print_table
from schemas.jobs import JobResult, JobSpec
from schemas.recipes import Generation, Recipe
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.jobs import open_jobs
from storage.jobs.records import Claim
from storage.settings import StorageSettings

ROUNDS, CALLS = 7, 300
QUEUED = 10_000
RESULT = JobResult(video_key="v", thumbnail_key="t", spritesheet_key="s", size_bytes=1)
GENERATION = Generation(
    model="scenes",
    fingerprint="f" * 64,
    prompt="A car is driving on the highway.",
    negative_prompt="",
    seed=7,
    width=480,
    height=272,
    num_frames=33,
    num_inference_steps=20,
    guidance_scale=5.0,
    fps=8,
)

Call = Callable[[int], Awaitable[object]]


def make_spec(video_id: str) -> JobSpec:
    recipe = Recipe(generation=GENERATION)
    return JobSpec(id=video_id, project="p", recipe=recipe, source_key="0" * 64, created_at=1)


async def per_call(call: Call, first: int) -> float:
    """Seconds per call over CALLS calls."""
    start = time.perf_counter()
    for number in range(first, first + CALLS):
        await call(number)
    return (time.perf_counter() - start) / CALLS


async def compare(ours: Call, bare: Call) -> tuple[float, float]:
    """Median seconds per call of ours, and the median ratio to the bare command beside it."""
    pairs = [
        (await per_call(ours, round_ * CALLS), await per_call(bare, round_ * CALLS))
        for round_ in range(ROUNDS)
    ]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), median_ratio(mine, theirs)


async def measure_calls(redis: Redis) -> dict[str, tuple[float, float]]:
    """Per call: median seconds and ratio to the bare command, with ROUNDS·CALLS jobs queued."""
    jobs = open_jobs(redis)
    claims: dict[int, Claim] = {}

    async def bare_set(number: int) -> None:
        await redis.set(f"bare:{number}", b"x" * 600)

    async def bare_hash(number: int) -> None:
        await redis.hgetall("retake:job:v0")

    async def claim(number: int) -> None:
        claimed = await jobs.claims.claim(f"v{number}", "w", 60)
        assert claimed is not None
        claims[number] = claimed

    calls: list[tuple[str, Call, Call]] = [
        ("submit", lambda n: jobs.store.submit([make_spec(f"v{n}")]), bare_set),
        ("get", lambda n: jobs.store.get("p", f"v{n}"), bare_hash),
        ("claim", claim, bare_set),
        (
            "progress",
            lambda n: jobs.claims.progress(claims[n], step=1, total=20, data={}, lease_s=60),
            bare_set,
        ),
        ("complete", lambda n: jobs.claims.complete(claims[n], RESULT, 3600), bare_set),
    ]
    return {name: await compare(ours, bare) for name, ours, bare in calls}


async def measure_growth(redis: Redis) -> tuple[float, float, float]:
    """Seconds for a page of 20 among 100 and among QUEUED jobs; bytes of Redis per queued job."""
    jobs = open_jobs(redis, prefix="growth")

    async def page(number: int) -> None:
        await jobs.store.list("p", after="v00050", limit=20, order="desc")

    before = (await redis.info("memory"))["used_memory"]
    await jobs.store.submit([make_spec(f"v{number:05d}") for number in range(100)])
    few = statistics.median([await per_call(page, 0) for _ in range(3)])
    for first in range(100, QUEUED, 900):
        await jobs.store.submit([make_spec(f"v{n:05d}") for n in range(first, first + 900)])
    many = statistics.median([await per_call(page, 0) for _ in range(3)])
    return few, many, ((await redis.info("memory"))["used_memory"] - before) / QUEUED


async def main() -> None:
    rows: list[list[Cell]] = []
    figures: dict[str, object] = {}
    modes: tuple[Literal["everysec", "always"], ...] = ("everysec", "always")
    for mode in modes:
        with tempfile.TemporaryDirectory() as folder, EmbeddedValkey() as server:
            url = server.start(Path(folder), appendfsync=mode)
            redis = open_redis(StorageSettings(redis_url=url, object_url="file:///unused"))
            for name, (seconds, ratio) in (await measure_calls(redis)).items():
                rows.append([name, mode, round(1 / seconds), ratio])
                figures[f"{name}_over_bare_{mode}"] = round(ratio, 3)
            if mode == "everysec":
                few, many, size = await measure_growth(redis)
                rows += [["list 20 of 100", mode, round(1 / few), None]]
                rows += [[f"list 20 of {QUEUED}", mode, round(1 / many), many / few]]
                figures |= {"list_many_over_few": round(many / few, 3)}
                figures |= {"bytes_per_queued_job": round(size)}
            await redis.aclose()
    print_table(["call", "appendfsync", "per second", "over bare"], rows)
    print_figures(figures)


if __name__ == "__main__":
    asyncio.run(main())
