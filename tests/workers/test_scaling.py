"""More and fewer workers, and other versions of them, under load."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from ray import serve

from bench.processes import WORKER, processes
from storage.connect import open_redis
from storage.jobs.jobs import Jobs, open_jobs
from tests.workers.cluster import Cluster, open_cluster
from tests.workers.scripted import ScriptedEngine, spec_of
from tests.workers.waiting import ended, events_of, release, stepped, until
from workers.deployment import APP, build

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = open_cluster(
        tmp_path_factory.mktemp("cluster"),
        replicas=1,
        max_replicas=3,
        upscale_delay_s=0.5,
        downscale_delay_s=2.0,
    )
    yield cluster
    cluster.workers.stop()
    cluster.valkey.stop()


@pytest.fixture
async def jobs(cluster: Cluster) -> AsyncIterator[Jobs]:
    redis = open_redis(cluster.settings.storage)
    yield open_jobs(redis)
    await redis.aclose()


async def test_backlog_makes_three_of_one_and_its_end_one_of_three(
    cluster: Cluster, jobs: Jobs
) -> None:
    waiting = [spec_of(number, "hold") for number in range(6)]
    await jobs.store.submit(waiting)

    async def three() -> bool:
        return sum(bool(cluster.pids_of(spec.id)) for spec in waiting) == 3

    await until(three, "three jobs run")
    for spec in waiting:
        release(cluster.objects, spec.id)
    for spec in waiting:
        assert (await ended(jobs, spec.id)).state.attempts == 1
    ran = {pid for spec in waiting for pid in cluster.pids_of(spec.id)}
    assert len(ran) == 3

    async def one() -> bool:
        return len(processes(WORKER)) == 1

    await until(one, "one worker")


async def test_a_new_version_takes_over_and_no_job_notices(cluster: Cluster, jobs: Jobs) -> None:
    """The running job ends on the old version, those that wait run on either, none twice."""
    (running,) = await jobs.store.submit([spec_of(10, "hold")])
    await stepped(jobs, running.spec.id)
    (old,) = cluster.pids_of(running.spec.id)
    waiting = [spec_of(number, "slow") for number in range(11, 17)]
    await jobs.store.submit(waiting)
    newer = cluster.settings.model_copy(update={"log_level": "warning"})
    deploying = asyncio.create_task(
        asyncio.to_thread(serve.run, build(newer, ScriptedEngine), name=APP, route_prefix=None)
    )

    async def replaced() -> bool:
        return any(pid != old for spec in waiting for pid in cluster.pids_of(spec.id))

    await until(replaced, "the new version runs jobs")
    release(cluster.objects, running.spec.id)
    for video_id in (running.spec.id, *(spec.id for spec in waiting)):
        job = await ended(jobs, video_id)
        assert job.state.status == "completed"
        kinds = [event.type for event in await events_of(jobs, video_id)]
        assert kinds.count("started") == 1

    await deploying

    async def gone() -> bool:
        return old not in processes(WORKER)

    await until(gone, "the old version is gone")
