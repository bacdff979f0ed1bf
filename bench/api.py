"""The HTTP side: reading a status against a bare route, accepting jobs near saturation, paging
through 10,000 videos, and what 500 event streams take.

``python -m bench.api``: an embedded Valkey, the API as ``python -m service``, its bare peer and the
load generator, each in a process of its own, on loopback.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.report import Cell, median_ratio, print_figures, print_table
from schemas.jobs import JobSpec
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.jobs import open_jobs
from storage.keys import KeyStore
from storage.limits import Limits, ProjectLimits
from storage.settings import StorageSettings

PORT, KEYED_PORT, BARE_PORT = 18431, 18432, 18433
ROUNDS, ROUND_S, CONNECTIONS = 7, 2.0, 16
ACCEPT_S, LOAD = 4.0, 0.7
VIDEOS, PAGE = 10_000, 100
STREAMS = 500

CARD = ModelCard(
    id="scenes",
    family="wan",
    fingerprint="f" * 64,
    revision="1",
    dtype="float32",
    licence="apache-2.0",
    default_size="96x64",
    width_range=IntRange(minimum=32, maximum=128, default=96, step=16),
    height_range=IntRange(minimum=32, maximum=128, default=64, step=16),
    max_pixels=96 * 96,
    num_frames=IntRange(minimum=1, maximum=33, default=17, step=4, offset=1),
    num_inference_steps=IntRange(minimum=1, maximum=50, default=20),
    fps=IntRange(minimum=1, maximum=30, default=8),
    guidance_scale=4.0,
    layers=8,
    heads=4,
    width=256,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
    latent_channels=16,
)
GENERATION = Generation(
    model="scenes",
    fingerprint=CARD.fingerprint,
    prompt="A car is driving on the highway.",
    negative_prompt="",
    seed=7,
    width=96,
    height=64,
    num_frames=17,
    num_inference_steps=20,
    guidance_scale=4.0,
    fps=8,
)


def spec_of(video_id: str, project: str) -> JobSpec:
    recipe = Recipe(generation=GENERATION)
    return JobSpec(
        id=video_id,
        project=project,
        recipe=recipe,
        source_key="0" * 64,
        created_at=int(time.time()),
    )


async def prepare(settings: StorageSettings) -> str:
    """A model on offer, a video to ask for, many to page through; the secret of a key."""
    redis = open_redis(settings)
    jobs = open_jobs(redis, prefix=settings.redis_prefix)
    await jobs.models.publish(CARD, ttl_s=86_400)
    await jobs.store.submit([spec_of("video_00000000", "default")])
    for first in range(0, VIDEOS, 100):
        ids = range(first, first + 100)
        await jobs.store.submit(
            [spec_of(f"video_{number:08d}", "many") for number in ids if number]
        )
    keys = KeyStore(redis, prefix=settings.redis_prefix)
    _, secret = await keys.create("many")
    limits = Limits(redis, ProjectLimits(), prefix=settings.redis_prefix)
    await limits.set("many", ProjectLimits(requests_per_minute=10**9))
    await redis.aclose()
    return secret


@contextlib.contextmanager
def process(port: int, *command: str, **env: str) -> Iterator[int]:
    """A server until the block ends; its pid."""
    child = subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, **env})
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/healthz").is_success:
                    break
            time.sleep(0.05)
        yield child.pid
    finally:
        child.terminate()
        child.wait(30)


def load(kind: str, port: int, method: str, path: str, **more: Any) -> dict[str, Any]:
    """One run of the load generator; any answer but 200 ends the benchmark."""
    job = {"kind": kind, "port": port, "method": method, "path": path, "connections": CONNECTIONS}
    done = subprocess.run(
        [sys.executable, "-m", "bench.http_load"],
        input=json.dumps({**job, **more}),
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    if result["failed"]:
        raise RuntimeError(f"{method} {path}: {result['failed']} requests failed")
    return result


def measure_status(secret: str) -> tuple[list[list[Cell]], dict[str, float]]:
    path, bearer = "/v1/videos/video_00000000", [f"authorization: Bearer {secret}"]
    routes: list[tuple[str, int, str, list[str]]] = [
        ("bare route", BARE_PORT, "/videos/video_00000000", []),
        ("status", PORT, path, []),
        ("status with key and rate limit", KEYED_PORT, "/v1/videos/video_00000001", bearer),
    ]
    rates: dict[str, list[float]] = {name: [] for name, *_ in routes}
    for _ in range(ROUNDS):
        for name, port, url, headers in routes:
            found = load("closed", port, "GET", url, seconds=ROUND_S, headers=headers)
            rates[name].append(found["per_second"])
    bare, plain, keyed = rates.values()
    rows: list[list[Cell]] = [
        [f"{name}, per second", statistics.median(found)] for name, found in rates.items()
    ]
    figures = {
        "status_per_second": statistics.median(plain),
        "status_over_bare": median_ratio(plain, bare),
        "keyed_status_over_bare": median_ratio(keyed, bare),
    }
    return rows, figures


def measure_accept() -> tuple[list[list[Cell]], dict[str, float]]:
    """Accepting near saturation, beside the bare route near its own: what the machine's other work
    adds to a tail shows in both."""
    body = {"prompt": "A car is driving on the highway.", "seed": 7}
    routes: dict[str, tuple[int, str, str, Any]] = {
        "bare route": (BARE_PORT, "GET", "/videos/video_00000000", None),
        "accept": (PORT, "POST", "/v1/videos", body),
    }
    rates: dict[str, list[float]] = {name: [] for name in routes}
    tails: dict[str, list[tuple[float, float]]] = {name: [] for name in routes}
    for _ in range(ROUNDS):
        for name, route in routes.items():
            full = load("closed", *route[:3], body=route[3], seconds=ROUND_S)["per_second"]
            run = load("open", *route[:3], body=route[3], seconds=ACCEPT_S, per_second=LOAD * full)[
                "times"
            ]
            rates[name].append(full)
            tails[name].append((_at(run, 0.5), _at(run, 0.99)))
    rows: list[list[Cell]] = []
    ratios = {}
    for name, found in tails.items():
        ratios[name] = [p99 / p50 for p50, p99 in found]
        p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        rows += [
            [f"{name}, per second, saturated", statistics.median(rates[name])],
            [f"{name} p50 at {LOAD:.0%} of that, ms", p50],
            [f"{name} p99 at {LOAD:.0%} of that, ms", p99],
        ]
    return rows, {
        "accepted_per_second": statistics.median(rates["accept"]),
        "accept_p99_over_p50": statistics.median(ratios["accept"]),
        "accept_p99_over_p50_best": min(ratios["accept"]),
        "bare_p99_over_p50": statistics.median(ratios["bare route"]),
    }


def _at(times: list[float], share: float) -> float:
    """The time, in ms, that ``share`` of the requests stayed below; ``times``: seconds, sorted."""
    return 1000 * times[int(share * len(times))]


def measure_list(secret: str) -> tuple[list[list[Cell]], dict[str, float]]:
    """Every page of 10,000 videos; the last tenth of the pages against the first."""
    headers = {"authorization": f"Bearer {secret}"}
    times, after, seen = list[float](), None, 0
    with httpx.Client(base_url=f"http://127.0.0.1:{KEYED_PORT}/v1", headers=headers) as client:
        while True:
            query = {"limit": PAGE} | ({"after": after} if after else {})
            began = time.perf_counter()
            page = client.get("/videos", params=query).raise_for_status().json()
            times.append(time.perf_counter() - began)
            seen, after = seen + len(page["data"]), page["last_id"]
            if not page["has_more"]:
                break
    tenth = len(times) // 10
    first, last = (1000 * statistics.median(part) for part in (times[:tenth], times[-tenth:]))
    rows: list[list[Cell]] = [
        [f"page of {PAGE}, first of {seen}, ms", first],
        [f"page of {PAGE}, last of {seen}, ms", last],
    ]
    return rows, {"list_last_over_first_page": last / first}


async def measure_streams(pid: int) -> tuple[list[list[Cell]], dict[str, float]]:
    """Memory of the API with and without streams, each on a job of its own."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}/v1", timeout=60) as client:
        ids = []
        for _ in range(STREAMS):
            made = await client.post("/videos", json={"prompt": "A car."})
            ids.append(made.raise_for_status().json()["id"])
        before = resident(pid)
        writers, readers = [], []
        for video_id in ids:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(
                f"GET /v1/videos/{video_id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
            )
            await reader.readuntil(b"event: queued")
            writers.append(writer)
            readers.append(reader)
        took = resident(pid) - before
        began = time.perf_counter()
        await client.post(f"/videos/{ids[-1]}/cancel")
        await readers[-1].readuntil(b"event: failed")
        heard_ms = 1000 * (time.perf_counter() - began)
        for writer in writers:
            writer.close()
    each = took / STREAMS / 1e6
    rows: list[list[Cell]] = [
        [f"memory per stream of {STREAMS}, MB", each],
        ["from cancel to its event, ms", heard_ms],
    ]
    return rows, {"sse_mb_each": each, "sse_heard_ms": heard_ms}


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey() as valkey:
        url = valkey.start(Path(folder) / "valkey")
        settings = StorageSettings(redis_url=url, object_url=f"file://{folder}/objects")
        secret = asyncio.run(prepare(settings))
        env = {
            "RETAKE_REDIS_URL": url,
            "RETAKE_OBJECT_URL": settings.object_url,
            "RETAKE_LOG_LEVEL": "warning",
        }
        with (
            process(PORT, "service", RETAKE_PORT=str(PORT), **env) as pid,
            process(KEYED_PORT, "service", RETAKE_PORT=str(KEYED_PORT), RETAKE_AUTH="keys", **env),
            process(BARE_PORT, "bench.bare_api", url, "retake:job:", str(BARE_PORT)),
        ):
            parts = [
                measure_status(secret),
                measure_list(secret),
                measure_accept(),
                asyncio.run(measure_streams(pid)),
            ]
    print_table(["what", "value"], [row for rows, _ in parts for row in rows])
    print_figures({name: round(value, 4) for _, found in parts for name, value in found.items()})


if __name__ == "__main__":
    main()
