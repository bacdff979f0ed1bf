"""A worker for these tests: the real job protocol, real mp4 and PNG bytes, but no model.

What it does with a job is said by the prompt: ``[hold]`` waits at the first step until cancelled or
released, ``[fail]`` fails, ``[preview]`` publishes a picture.
"""

import asyncio
import base64
import contextlib
import io
import json
import threading
from collections.abc import Awaitable, Callable
from fractions import Fraction
from functools import partial
from typing import TypeVar

import av
import numpy as np
from PIL import Image
from redis.exceptions import RedisError

from schemas.jobs import AnalysisFiles, JobError, JobResult, JobSpec, MapResult
from schemas.maps import MapView
from schemas.models import IntRange, LatentGrid, ModelCard
from storage.connect import open_objects, open_redis
from storage.jobs.claims import Claims
from storage.jobs.jobs import Jobs, open_jobs
from storage.jobs.records import Claim, LeaseLost
from storage.objects.objects import ObjectStore
from storage.retry import REDIS, retry_async
from storage.settings import StorageSettings

STEPS = 4
LEASE_S = 30.0
Told = TypeVar("Told")

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
    num_inference_steps=IntRange(minimum=1, maximum=50, default=STEPS),
    fps=IntRange(minimum=1, maximum=30, default=8),
    guidance_scale=4.0,
    max_guidance_scale=20.0,
    max_prompt_chars=200,
    layers=4,
    heads=2,
    width=64,
    grid=LatentGrid(vae_stride=(4, 8, 8), patch=(1, 2, 2)),
    latent_channels=16,
    supports_preview=True,
    supports_uploads=True,
    region_kinds=("mask", "boxes", "auto", "word"),
    created_at=1_700_000_000,
)


# models that start from a picture: the one always, the other if it is given one
FROM_IMAGE = CARD.model_copy(
    update={"id": "wan-i2v", "inputs": ("text", "image"), "required_inputs": ("text", "image")}
)
EITHER = CARD.model_copy(update={"id": "either", "inputs": ("text", "image")})


def film(frames: int = 5, width: int = 96, height: int = 64) -> bytes:
    """A real mp4 (H.264) of a moving gradient."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # every worker's film is the same to the byte, as in workers/control/mp4.py
        stream.options = {"flags": "+bitexact", "x264-params": "mbtree=0"}
        stream.codec_context.thread_count = 1
        for index in range(frames):
            picture = np.full((height, width, 3), 40 * index % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def chart(view: MapView) -> bytes:
    """A real PNG, another one for each view."""
    colour = (10 * view.layer, 10 * view.step, 10 * view.head)
    file = io.BytesIO()
    Image.new("RGB", (view.bins, view.bins), colour).save(file, "PNG")
    return file.getvalue()


def store_analysis(objects: ObjectStore, folder: str, spec: JobSpec) -> AnalysisFiles:
    """Files that say whose they are."""
    files = {
        "result.json": json.dumps({"of": spec.id}).encode(),
        "report.html": f"<p>{spec.id}</p>".encode(),
        "figures/maps.png": chart(MapView(bins=8)),
    }
    for name, data in files.items():
        objects.put(f"{folder}/{name}", data)
    return AnalysisFiles(
        result_key=f"{folder}/result.json",
        report_key=f"{folder}/report.html",
        figures={"maps": f"{folder}/figures/maps.png"},
        size_bytes=sum(map(len, files.values())),
        stored_sources=(0,),
        seconds=0.1,
    )


async def _until_told(tell: Callable[[], Awaitable[Told]]) -> Told:
    """As real workers do, which outlive a Redis that does not answer in time."""
    return await retry_async(tell, REDIS, LEASE_S, what="the tests' worker")


class Worker:
    """Runs in a thread of its own until ``stop``; ``release`` lets held jobs go on."""

    def __init__(self, settings: StorageSettings, *cards: ModelCard) -> None:
        self.settings, self.cards = settings, cards or (CARD,)
        self.video = film()
        self.claimed: list[str] = []  # the ids of all jobs, in the order they were taken
        self._stopping = threading.Event()
        self._released = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)

    def release(self) -> None:
        self._released.set()

    async def _run(self) -> None:
        redis, objects = open_redis(self.settings), open_objects(self.settings)
        jobs = open_jobs(redis, prefix=self.settings.redis_prefix)
        for card in self.cards:
            await jobs.models.publish(card, ttl_s=3600)
        self._ready.set()
        running: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            # as real ones do: again and again, also where Redis did not answer in time
            with contextlib.suppress(RedisError):
                await self._take(jobs, running)
        for task in running:
            task.cancel()
        await redis.aclose()
        objects.close()

    async def _take(self, jobs: Jobs, running: set[asyncio.Task[None]]) -> None:
        """Begin what is queued."""
        for card in self.cards:
            await jobs.models.publish(card, ttl_s=3600)
        for delivery in await jobs.queue.read("tests", 8, block_ms=100):
            claim = await jobs.claims.claim(delivery.video_id, "worker", LEASE_S)
            if claim is not None:
                self.claimed.append(delivery.video_id)
                task = asyncio.create_task(self._work(jobs, claim))
                running.add(task)
                task.add_done_callback(running.discard)

    async def _work(self, jobs: Jobs, claim: Claim) -> None:
        with contextlib.suppress(LeaseLost):  # deleted while it ran
            await self._steps(jobs.claims, claim)

    async def _steps(self, claims: Claims, claim: Claim) -> None:
        prompt = claim.job.spec.recipe.generation.prompt
        total = claim.job.spec.recipe.generation.num_inference_steps
        for step in range(1, total + 1):
            cancelled = await _until_told(
                partial(claims.progress, claim, step=step, total=total, data={}, lease_s=LEASE_S)
            )
            while "[hold]" in prompt and not cancelled and not self._released.is_set():
                await asyncio.sleep(0.02)
                cancelled = await _until_told(partial(claims.heartbeat, claim, LEASE_S))
            if cancelled:
                error = JobError(code="cancelled", message="the job was cancelled")
                await _until_told(partial(claims.fail, claim, error))
                return
        if "[preview]" in prompt:
            picture = {"jpeg": base64.b64encode(b"a picture").decode()}
            sent = partial(claims.progress, claim, step=total, total=total, data=picture)
            await _until_told(partial(sent, lease_s=LEASE_S, event="preview"))
        if "[fail]" in prompt:
            error = JobError(code="generation_failed", message="as asked")
            await _until_told(partial(claims.fail, claim, error))
            return
        result = await asyncio.to_thread(self._store, claim)
        await _until_told(partial(claims.complete, claim, result))

    def _store(self, claim: Claim) -> JobResult | MapResult | AnalysisFiles:
        spec = claim.job.spec
        folder = f"{spec.folder}/{claim.fence}"
        objects = open_objects(self.settings)
        if spec.look is not None:
            objects.put(f"{folder}/map.png", chart(spec.look.view), content_type="image/png")
            return MapResult(map_key=f"{folder}/map.png", seconds=0.1)
        if spec.analysis is not None:
            return store_analysis(objects, folder, spec)
        objects.put(f"{folder}/video.mp4", self.video, content_type="video/mp4")
        objects.put(f"{folder}/thumbnail.webp", b"thumbnail", content_type="image/webp")
        objects.put(f"{folder}/spritesheet.webp", b"spritesheet", content_type="image/webp")
        region_key = f"{folder}/region.png" if spec.recipe.region is not None else None
        if region_key is not None:
            objects.put(region_key, chart(MapView(bins=8)), content_type="image/png")
        return JobResult(
            region_key=region_key,
            video_key=f"{folder}/video.mp4",
            thumbnail_key=f"{folder}/thumbnail.webp",
            spritesheet_key=f"{folder}/spritesheet.webp",
            size_bytes=len(self.video),
            attention="replayed" if spec.recipe.source else "none",
            seconds=0.1,
        )
