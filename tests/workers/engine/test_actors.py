"""A replica of two ranks on a real Ray: killed ranks, replicas, cancelled jobs; the tiny Wan."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.processes import WORKER, processes
from schemas.attention import CaptureSpec, TransferSpec
from schemas.jobs import Job, JobSpec
from schemas.models import ModelCard
from schemas.recipes import Generation, Recipe
from storage.connect import open_redis
from storage.jobs.jobs import Jobs, open_jobs
from tests import tiny
from tests.workers.cluster import Cluster, open_cluster
from tests.workers.waiting import ended, stepped, until
from workers.deployment import open_pipelines
from workers.model_settings import ModelSettings

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
RANK = "ray::Rank"
LONG = 2000  # steps: until it is stopped
REPLACED_S = 180.0  # three failed checks, then a new process that imports torch


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("wan")
    tiny.wan().save_pretrained(folder, safe_serialization=True)
    defaults = tiny.DEFAULTS.model_copy(update={"max_inference_steps": LONG})
    model = ModelSettings(id="tiny", path=str(folder), dtype="float32", ranks=2, defaults=defaults)
    cluster = open_cluster(
        tmp_path_factory.mktemp("cluster"),
        open_pipelines,
        models=(model,),
        threads=1,
        rank_timeout_s=10.0,
    )
    yield cluster
    cluster.workers.stop()
    cluster.valkey.stop()


@pytest.fixture
async def jobs(cluster: Cluster) -> AsyncIterator[Jobs]:
    redis = open_redis(cluster.settings.storage)
    yield open_jobs(redis)
    await redis.aclose()


async def card_of(jobs: Jobs) -> ModelCard:
    async def published() -> bool:
        return bool(await jobs.models.list())

    await until(published, "the model is published")
    (card,) = await jobs.models.list()
    return card


async def submit(
    jobs: Jobs, number: int, *, steps: int = 3, source: Recipe | None = None
) -> JobSpec:
    card = await card_of(jobs)
    generation = Generation(
        model=card.id,
        fingerprint=card.fingerprint,
        prompt="a car" if source is None else "a red car",
        negative_prompt="",
        seed=7,
        width=tiny.WIDTH,
        height=tiny.HEIGHT,
        num_frames=tiny.FRAMES,
        num_inference_steps=steps,
        guidance_scale=4.0,
        fps=8,
    )
    transfer = None if source is None else TransferSpec()
    recipe = Recipe(generation=generation, source=source, transfer=transfer)
    spec = JobSpec(
        id=f"video_{number:08d}",
        project="tests",
        recipe=recipe,
        source_key=recipe.key("tests"),
        edit_source_key=source.key("tests") if source else None,
        capture=CaptureSpec(scope="everything", form="hidden") if source is None else None,
        created_at=1_700_000_000,
    )
    await jobs.store.submit([spec])
    return spec


def film(cluster: Cluster, job: Job) -> bytes:
    assert job.state.status == "completed", job.state.error
    assert job.state.result is not None
    return cluster.objects.get(job.state.result.video_key)


async def test_a_video_and_its_edit_from_stored_attention(cluster: Cluster, jobs: Jobs) -> None:
    assert len(processes(RANK)) == 1
    spec = await submit(jobs, 1)
    source = await ended(jobs, spec.id)
    edit = await ended(jobs, (await submit(jobs, 2, source=spec.recipe)).id)
    assert film(cluster, edit) != film(cluster, source)
    assert edit.state.result is not None
    assert edit.state.result.attention == "stored"


async def test_a_cancelled_job_leaves_the_ranks_in_step(cluster: Cluster, jobs: Jobs) -> None:
    before = processes(WORKER) + processes(RANK)
    long = (await submit(jobs, 10, steps=LONG)).id
    await stepped(jobs, long)
    await jobs.store.request_cancel("tests", long)
    job = await ended(jobs, long)
    assert job.state.error is not None
    assert job.state.error.code == "cancelled"
    film(cluster, await ended(jobs, (await submit(jobs, 11)).id))
    assert processes(WORKER) + processes(RANK) == before, "nothing had to be replaced"


@pytest.mark.parametrize("running", [True, False], ids=["running", "idle"])
async def test_a_killed_rank_is_replaced_with_its_replica(
    cluster: Cluster, jobs: Jobs, running: bool
) -> None:
    """And the job that it was at is run again."""
    (worker,), (rank,) = processes(WORKER), processes(RANK)
    if running:
        video_id = (await submit(jobs, 20, steps=150)).id
        await stepped(jobs, video_id)
    os.kill(rank, signal.SIGKILL)

    async def replaced() -> bool:
        new = processes(WORKER) + processes(RANK)
        return len(new) == 2 and worker not in new and rank not in new

    await until(replaced, "another replica, with a rank of its own", REPLACED_S)
    if running:
        job = await ended(jobs, video_id, REPLACED_S)
        assert job.state.attempts == 2
        film(cluster, job)
    film(cluster, await ended(jobs, (await submit(jobs, 21 + running)).id, REPLACED_S))


async def test_ranks_end_with_their_replica(cluster: Cluster, jobs: Jobs) -> None:
    (worker,), (rank,) = processes(WORKER), processes(RANK)
    os.kill(worker, signal.SIGKILL)

    async def gone() -> bool:
        return rank not in processes(RANK) and len(processes(RANK)) == 1

    await until(gone, "the rank is gone, and another is there", REPLACED_S)
    film(cluster, await ended(jobs, (await submit(jobs, 40)).id, REPLACED_S))


def test_nothing_is_left_when_it_stops(cluster: Cluster) -> None:
    cluster.workers.stop()
    assert processes(WORKER) + processes(RANK) == []
    assert not (Path.home() / ".ray" / "auth_token").exists()
