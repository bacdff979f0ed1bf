"""One job from claim to commit.

Claim, render, write the files under the fence, publish the attention's manifest, commit under the
fence; a map job draws a picture instead, an analysis writes its result. Whatever goes wrong gets
one verdict (``workers.control.failure_policy``): fail, hand back, or drop.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from redis import RedisError

from schemas.jobs import AnalysisFiles, JobResult, MapResult
from storage.jobs.claims import Claims
from storage.jobs.records import Claim, LeaseLost
from storage.objects.objects import ObjectStore, ObjectStoreError
from storage.retry import OBJECT_STORE, REDIS, retry, retry_async
from workers.control.early_encoder import EarlyEncoder, is_decoded_as_shown
from workers.control.engine_protocol import Engine
from workers.control.failure_policy import failure_policy, is_out_of_memory
from workers.control.lease import Lease
from workers.control.media import Media, encode_media, encode_region
from workers.control.phase_clock import PhaseClock
from workers.settings import WorkerSettings

log = logging.getLogger("retake.worker")

Result = JobResult | MapResult | AnalysisFiles


@dataclass(frozen=True)
class JobContext:
    """What a worker runs its jobs with. ``worker``: its name in claims."""

    worker: str
    claims: Claims
    objects: ObjectStore
    engine: Engine
    settings: WorkerSettings


async def run_job(
    context: JobContext, video_id: str, on_lease: Callable[[Lease | None], None]
) -> None:
    """Run a job if it can be claimed; returns when this worker is done with it, however it went.

    ``on_lease`` is told of the lease while there is one, and None after it. While nothing can be
    stored, nothing is claimed: the video could not be kept.
    """
    settings = context.settings
    try:
        await asyncio.to_thread(context.objects.check)
    except ObjectStoreError as error:
        log.warning("job=%s not claimed: %s", video_id, error)
        return
    claim = await context.claims.claim(video_id, context.worker, settings.lease_s)
    if claim is None:
        log.info("job=%s not claimed", video_id)
        return
    log.info("job=%s claimed fence=%d attempt=%d", video_id, claim.fence, claim.job.state.attempts)
    async with Lease(
        context.claims, claim, lease_s=settings.lease_s, stall_s=settings.stall_timeout_s
    ) as lease:
        on_lease(lease)
        try:
            result = await asyncio.to_thread(_produce, context, lease, time.monotonic())
            await lease.settle()
        except Exception as error:  # the job's boundary: whatever it was, the job gets a verdict
            await _conclude(context, claim, error)
        else:
            await _commit(context, claim, result)
        finally:
            on_lease(None)


def _produce(context: JobContext, lease: Lease, began: float) -> Result:
    """Everything between claim and commit, in the job's thread."""
    match lease.claim.job.spec.kind:
        case "map":
            return _make_map(context, lease, began)
        case "analysis":
            return _make_analysis(context, lease, began)
        case "video":
            return _make_video(context, lease, began)


def _make_video(context: JobContext, lease: Lease, began: float) -> JobResult:
    job, clock = lease.claim.job, PhaseClock()
    recipe, media_settings = job.spec.recipe, context.settings.media
    with closing(EarlyEncoder(recipe, media_settings)) as early:
        on_frames = early.take if is_decoded_as_shown(recipe) else None
        video = context.engine.render(job, lease.step, lease.preview, on_frames)
        clock.add(video.seconds)
        mp4 = early.video_of(video.frames)
    try:
        lease.check()
        fps = recipe.generation.fps
        media = encode_media(video.frames, fps, media_settings, video.sound, mp4)
        clock.end("encoding")
        lease.check()
        keys = _upload(context, lease, media)
        region_key = _upload_region(context, lease, video.region, fps)
        clock.end("upload")
        artifact_key = video.captured.publish() if video.captured else None
        clock.end("capture")
    except BaseException:
        if video.captured:
            video.captured.discard()
        raise
    log.info("job=%s made %s", job.spec.id, clock)
    return JobResult(
        video_key=keys[0],
        thumbnail_key=keys[1],
        spritesheet_key=keys[2],
        size_bytes=len(media.video),
        artifact_key=artifact_key,
        not_kept=video.captured.failure if video.captured else video.not_captured,
        attention=video.attention,
        cost=video.cost,
        prompt_truncated=video.prompt_truncated,
        region_key=region_key,
        metrics=video.metrics,
        seconds=round(time.monotonic() - began, 3),
    )


def _make_map(context: JobContext, lease: Lease, began: float) -> MapResult:
    image = context.engine.draw(lease.claim.job, lease.step)
    lease.check()
    key = f"{_folder(lease.claim)}/map.png"
    _put(context, lease, key, image, "image/png")
    return MapResult(map_key=key, seconds=round(time.monotonic() - began, 3))


def _make_analysis(context: JobContext, lease: Lease, began: float) -> AnalysisFiles:
    found = context.engine.analyse(lease.claim.job, lease.step)
    folder, size_bytes = _folder(lease.claim), 0

    def put(name: str, data: bytes, content_type: str) -> str:
        nonlocal size_bytes
        lease.check()
        _put(context, lease, f"{folder}/{name}", data, content_type)
        size_bytes += len(data)
        return f"{folder}/{name}"

    figures = {
        name: put(f"figures/{name}.png", image, "image/png")
        for name, image in found.figures.items()
    }
    return AnalysisFiles(
        figures=figures,
        result_key=put("result.json", found.result, "application/json"),
        report_key=put("report.html", found.report, "text/html; charset=utf-8"),
        size_bytes=size_bytes,
        stored_sources=found.stored_sources,
        seconds=round(time.monotonic() - began, 3),
    )


def _folder(claim: Claim) -> str:
    """Where this claim's files go. It holds the fence: nobody else ever writes there."""
    return f"{claim.job.spec.folder}/{claim.fence}"


def _upload(context: JobContext, lease: Lease, media: Media) -> list[str]:
    files = (
        ("video.mp4", media.video, "video/mp4"),
        ("thumbnail.webp", media.thumbnail, "image/webp"),
        ("spritesheet.webp", media.spritesheet, "image/webp"),
    )
    keys = []
    for name, data, content_type in files:
        keys.append(f"{_folder(lease.claim)}/{name}")
        _put(context, lease, keys[-1], data, content_type)
    return keys


def _upload_region(
    context: JobContext, lease: Lease, region: NDArray[np.uint8] | None, fps: int
) -> str | None:
    if region is None:
        return None
    key = f"{_folder(lease.claim)}/region.png"
    _put(context, lease, key, encode_region(region, fps), "image/png")
    return key


def _put(context: JobContext, lease: Lease, key: str, data: bytes, content_type: str) -> None:
    """Write, trying again for as long as the settings allow: a finished video is dear."""
    retry(
        lambda: context.objects.put(key, data, content_type=content_type),
        OBJECT_STORE,
        context.settings.storage_patience_s,
        what=f"job={lease.claim.job.spec.id} upload",
        between_tries=lease.check,
    )


async def _commit(context: JobContext, claim: Claim, result: Result) -> None:
    video_id = claim.job.spec.id
    try:
        await _write(context, claim, lambda: context.claims.complete(claim, result))
    except LeaseLost:
        log.warning("job=%s lost at commit: another has it", video_id)
        await _forget_files(context, claim)
    except RedisError as error:
        # it may have been written: what follows is the next claim's to find out
        log.error("job=%s commit in doubt: %s", video_id, type(error).__name__)
    else:
        log.info("job=%s completed seconds=%.2f", video_id, result.seconds)
        await _forget_journal(context, claim)


async def _conclude(context: JobContext, claim: Claim, error: Exception) -> None:
    """Carry out the verdict on a job that stopped with ``error``."""
    video_id, policy = claim.job.spec.id, failure_policy(error)
    level = logging.ERROR if policy.unforeseen else logging.INFO
    log.log(
        level,
        "job=%s %s: %s",
        video_id,
        policy.action,
        policy.error.code if policy.error else type(error).__name__,
        exc_info=error if policy.unforeseen else None,
    )
    if is_out_of_memory(error):
        error.__traceback__ = None  # its frames hold the tensors
        context.engine.free_memory()
    await _forget_files(context, claim)
    try:
        if policy.action in ("release", "wait"):
            ours = policy.action == "wait"
            release = partial(context.claims.release, claim, policy.error, our_fault=ours)
            await _write(context, claim, release)
        elif policy.action == "fail":
            assert policy.error is not None
            failure = policy.error
            await _write(context, claim, lambda: context.claims.fail(claim, failure))
            await _forget_journal(context, claim)
    except LeaseLost:
        log.warning("job=%s lost before its end: another has it", video_id)
    except RedisError as trouble:
        log.error("job=%s end not written: %s", video_id, type(trouble).__name__)


async def _forget_journal(context: JobContext, claim: Claim) -> None:
    try:
        await asyncio.to_thread(context.engine.forget, claim.job.spec)
    except ObjectStoreError as error:  # the collector takes it
        log.warning("job=%s journal left behind: %s", claim.job.spec.id, type(error).__name__)


async def _forget_files(context: JobContext, claim: Claim) -> None:
    """Delete what was uploaded for a claim that committed nothing; the collector takes the rest."""
    try:
        await asyncio.to_thread(context.objects.delete_prefix, _folder(claim))
    except ObjectStoreError as error:
        log.warning("job=%s files left behind: %s", claim.job.spec.id, type(error).__name__)


async def _write(context: JobContext, claim: Claim, write: Callable[[], Awaitable[None]]) -> None:
    """End the claim by ``write``, again while Redis is away, for as long as the settings allow."""
    patience_s = context.settings.storage_patience_s
    await retry_async(write, REDIS, patience_s, what=f"job={claim.job.spec.id} end")
