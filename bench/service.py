"""What the service adds to a generation: before its first step, over all of it, and to a status.

``python -m bench.service``: the embedded stack with one worker and the bundled model; then the
stock diffusers pipeline in this process, same settings, same number of threads.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from bench import api
from bench.report import Cell, median_ratio, print_figures, print_table
from retake.stack import Stack
from storage.connect import open_redis
from storage.embedded.valkey import EmbeddedValkey
from storage.jobs.jobs import Jobs, open_jobs
from storage.settings import StorageSettings
from training.stock import WanPipeline
from workers.settings import BUNDLED

PROMPT = "A car is driving on the highway."


def body_of(seed: int, steps: int) -> dict[str, Any]:
    return {"prompt": PROMPT, "seed": seed, "num_inference_steps": steps, "capture": False}


def generate(client: httpx.Client, body: dict[str, Any]) -> tuple[str, float]:
    """A video through the service: its id, and seconds until a client that waits has the answer."""
    began = time.perf_counter()
    video = client.post("/videos", json=body).raise_for_status().json()
    # the server answers when the job ends; the client does not poll
    with client.stream("GET", f"/videos/{video['id']}/events") as events:
        for _ in events.iter_raw():
            pass
    seconds = time.perf_counter() - began
    status = client.get(f"/videos/{video['id']}").json()["status"]
    if status != "completed":
        raise RuntimeError(f"{video['id']} is {status}")
    return video["id"], seconds


async def before_first_step_ms(jobs: Jobs, video_id: str) -> tuple[float, float]:
    """From accepted to claimed, and to the beginning of the first denoising step.

    By Redis' clock, from the job's events. An event comes when its step is done, so the first
    step began one step's time before; the second step tells how long that is.
    """
    at = {
        (event.type, event.data.get("step")): event.at_ms
        for event in await jobs.events.read(video_id)
    }
    queued, claimed = at["queued", None], at["started", None]
    first, second = at["progress", 1], at["progress", 2]
    return claimed - queued, first - (second - first) - queued


def load_bare() -> Any:
    pipeline = WanPipeline.from_pretrained(BUNDLED.path, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate_bare(pipeline: Any, seed: int, steps: int) -> float:
    """Seconds of the stock pipeline's call alone: no file is written."""
    began = time.perf_counter()
    pipeline(
        prompt=PROMPT,
        negative_prompt="",
        width=96,
        height=64,
        num_frames=17,
        num_inference_steps=steps,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    return time.perf_counter() - began


async def measure_stack(rounds: int, steps: int) -> dict[str, float]:
    torch.set_num_threads(1)  # as the worker: two that wait for each other time the neighbours
    pipeline = load_bare()
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), env={"RETAKE_THREADS": "1"}) as stack,
        httpx.Client(base_url=stack.base_url, timeout=300) as client,
    ):
        stack.wait_ready()
        url = f"unix://{folder}/valkey/valkey.sock"
        redis = open_redis(StorageSettings(redis_url=url, object_url="file:///unused"))
        jobs = open_jobs(redis)
        generate(client, body_of(0, 3))
        generate_bare(pipeline, 0, 3)
        waits = []
        for seed in range(5 * rounds):
            video_id, _ = generate(client, body_of(seed, 2))
            waits.append(await before_first_step_ms(jobs, video_id))
        ours, bare = [], []
        for seed in range(rounds):
            ours.append(generate(client, body_of(seed, steps))[1])
            bare.append(generate_bare(pipeline, seed, steps))
        await redis.aclose()
    claimed, began = zip(*waits, strict=True)
    return {
        "accept_to_claim_ms": statistics.median(claimed),
        "accept_to_first_step_ms": statistics.median(began),
        "pipeline_s": statistics.median(bare),
        "service_s": statistics.median(ours),
        "service_over_pipeline": median_ratio(ours, bare),
    }


def measure_status() -> dict[str, float]:
    """GET of a status against a bare FastAPI route: see ``bench.api``."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey() as valkey:
        url = valkey.start(Path(folder) / "valkey")
        settings = StorageSettings(redis_url=url, object_url=f"file://{folder}/objects")
        secret = asyncio.run(api.prepare(settings))
        env = {
            "RETAKE_REDIS_URL": url,
            "RETAKE_OBJECT_URL": settings.object_url,
            "RETAKE_LOG_LEVEL": "warning",
        }
        keyed = {**env, "RETAKE_AUTH": "keys", "RETAKE_PORT": str(api.KEYED_PORT)}
        bare = (url, "retake:job:", str(api.BARE_PORT))
        with (
            api.process(api.PORT, "service", RETAKE_PORT=str(api.PORT), **env),
            api.process(api.KEYED_PORT, "service", **keyed),
            api.process(api.BARE_PORT, "bench.bare_api", *bare),
        ):
            return {"status_over_bare": api.measure_status(secret)[1]["status_over_bare"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    chosen = parser.parse_args()
    figures = asyncio.run(measure_stack(chosen.rounds, chosen.steps)) | measure_status()
    rows: list[list[Cell]] = [[name, value] for name, value in figures.items()]
    print_table(["what", "value"], rows)
    print_figures({name: round(value, 4) for name, value in figures.items()})


if __name__ == "__main__":
    main()
