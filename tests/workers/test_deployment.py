"""The Serve application on a real Ray: what is killed, stopped or replaced under running jobs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.processes import CONTROLLER, DISPATCHER, WORKER, processes
from schemas.jobs import Job
from storage.connect import open_redis
from storage.jobs.jobs import Jobs, open_jobs
from tests.workers.cluster import Cluster, kill, open_cluster
from tests.workers.scripted import frames_of, spec_of
from tests.workers.waiting import ended, events_of, release, stepped, until
from workers.control.mp4 import encode_mp4

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = open_cluster(tmp_path_factory.mktemp("cluster"), replicas=2)
    yield cluster
    cluster.workers.stop()
    cluster.valkey.stop()


@pytest.fixture
async def jobs(cluster: Cluster) -> AsyncIterator[Jobs]:
    redis = open_redis(cluster.settings.storage)
    yield open_jobs(redis)
    await redis.aclose()


async def submit(jobs: Jobs, number: int, prompt: str = "", **options: int) -> str:
    (job,) = await jobs.store.submit([spec_of(number, prompt, **options)])
    return job.spec.id


async def check_whole(cluster: Cluster, jobs: Jobs, job: Job) -> None:
    """Completed once, with the bytes of an undisturbed run."""
    assert job.state.status == "completed", job.state.error
    assert job.state.result is not None
    seed = job.spec.recipe.generation.seed
    assert cluster.objects.get(job.state.result.video_key) == encode_mp4(frames_of(seed), 8, 18)
    kinds = [event.type for event in await events_of(jobs, job.spec.id)]
    assert kinds.count("completed") + kinds.count("failed") == 1


async def two_running(cluster: Cluster, jobs: Jobs, first: int) -> tuple[str, str]:
    """Two jobs that hold, one on each replica."""
    held = [await submit(jobs, first + k, "hold") for k in range(2)]
    for video_id in held:
        await stepped(jobs, video_id)
    return held[0], held[1]


async def test_jobs_run_on_both_replicas(cluster: Cluster, jobs: Jobs) -> None:
    held = await two_running(cluster, jobs, 10)
    assert cluster.pids_of(held[0]) != cluster.pids_of(held[1])
    for video_id in held:
        release(cluster.objects, video_id)
        await check_whole(cluster, jobs, await ended(jobs, video_id))


async def test_edits_of_a_source_go_where_it_is(cluster: Cluster, jobs: Jobs) -> None:
    ran: set[int] = set()
    redis = open_redis(cluster.settings.storage)

    async def call_returned() -> bool:  # only then is the replica free for the next
        return await redis.xlen("retake:queue:normal") == 0

    for number in range(20, 26):
        video_id = await submit(jobs, number, source=7)
        await ended(jobs, video_id)
        await until(call_returned, "the entry is acknowledged")
        ran.update(cluster.pids_of(video_id))
    await redis.aclose()
    assert len(ran) == 1


async def test_queued_and_running_jobs_can_be_cancelled(cluster: Cluster, jobs: Jobs) -> None:
    held = await two_running(cluster, jobs, 30)
    queued = await submit(jobs, 32)
    for video_id in (queued, *held):
        await jobs.store.request_cancel("tests", video_id)
        job = await ended(jobs, video_id)
        assert job.state.error is not None
        assert job.state.error.code == "cancelled"
    assert cluster.pids_of(queued) == []


async def test_a_killed_worker_s_job_goes_on_elsewhere(cluster: Cluster, jobs: Jobs) -> None:
    video_id = await submit(jobs, 40, "hold")
    await stepped(jobs, video_id)
    (pid,) = cluster.pids_of(video_id)
    os.kill(pid, signal.SIGKILL)
    release(cluster.objects, video_id)
    job = await ended(jobs, video_id)
    await check_whole(cluster, jobs, job)
    assert job.state.attempts == 2


async def test_a_zombie_wakes_to_nothing(cluster: Cluster, jobs: Jobs) -> None:
    """Stopped past its lease; another finishes; awake again it may write nothing."""
    video_id = await submit(jobs, 50, "late")
    await stepped(jobs, video_id)
    (pid,) = cluster.pids_of(video_id)
    os.kill(pid, signal.SIGSTOP)
    release(cluster.objects, video_id)
    done = await ended(jobs, video_id)
    await check_whole(cluster, jobs, done)
    assert done.state.attempts == 2
    files = {info.key for info in cluster.objects.list(f"videos/tests/{video_id}")}
    os.kill(pid, signal.SIGCONT)
    # it is free again when it runs another job beside its sister
    held = await two_running(cluster, jobs, 51)
    for other in held:
        release(cluster.objects, other)
        await ended(jobs, other)
    assert await jobs.store.get("tests", video_id) == done
    assert {info.key for info in cluster.objects.list(f"videos/tests/{video_id}")} == files
    await check_whole(cluster, jobs, done)


async def test_a_killed_dispatcher_loses_nothing(cluster: Cluster, jobs: Jobs) -> None:
    held = await two_running(cluster, jobs, 60)
    waiting = [await submit(jobs, number) for number in range(62, 66)]
    killed = kill(DISPATCHER)
    for video_id in held:
        release(cluster.objects, video_id)
    for video_id in (*held, *waiting):
        job = await ended(jobs, video_id)
        await check_whole(cluster, jobs, job)
        kinds = [event.type for event in await events_of(jobs, video_id)]
        assert kinds.count("started") == 1, "a running job is not disturbed"
    assert killed not in processes(DISPATCHER)


async def test_a_killed_controller_disturbs_no_job(cluster: Cluster, jobs: Jobs) -> None:
    held = await two_running(cluster, jobs, 70)
    killed = kill(CONTROLLER)
    for video_id in held:
        release(cluster.objects, video_id)
        job = await ended(jobs, video_id)
        await check_whole(cluster, jobs, job)
        assert job.state.attempts == 1

    async def back() -> bool:
        return len(processes(CONTROLLER)) == 1 and killed not in processes(CONTROLLER)

    await until(back, "the controller is back")
    await check_whole(cluster, jobs, await ended(jobs, await submit(jobs, 72)))


async def test_a_crashed_valkey_comes_back_with_every_job(cluster: Cluster, jobs: Jobs) -> None:
    held = await two_running(cluster, jobs, 80)
    waiting = [await submit(jobs, number) for number in range(82, 86)]
    cluster.crash_valkey()
    for video_id in held:
        release(cluster.objects, video_id)
    for video_id in (*held, *waiting):
        await check_whole(cluster, jobs, await ended(jobs, video_id))


async def test_a_poison_job_is_buried_and_the_next_one_runs(cluster: Cluster, jobs: Jobs) -> None:
    poison, good = await submit(jobs, 90, "crash"), await submit(jobs, 91)
    await check_whole(cluster, jobs, await ended(jobs, good))
    job = await ended(jobs, poison)
    assert (job.state.status, job.state.attempts) == ("failed", 4)  # the first is forgiven
    assert job.state.error is not None
    assert "died" in job.state.error.message
    assert poison in [letter.video_id for letter in await jobs.maintenance.list_dead()]


async def test_out_of_memory_fails_one_job(cluster: Cluster, jobs: Jobs) -> None:
    job = await ended(jobs, await submit(jobs, 95, "oom"))
    assert job.state.error is not None
    assert job.state.error.code == "out_of_memory"
    await check_whole(cluster, jobs, await ended(jobs, await submit(jobs, 96)))


async def test_a_drain_hands_back_what_does_not_end(cluster: Cluster, jobs: Jobs) -> None:
    """Last: nothing is taken any more afterwards."""
    held = await submit(jobs, 98, "hold")
    await stepped(jobs, held)
    await asyncio.to_thread(cluster.workers.drain, 0.2)
    later = await submit(jobs, 99)
    state = (await jobs.store.get("tests", held)).state
    assert (state.status, state.attempts) == ("queued", 0)
    assert (await jobs.store.get("tests", later)).state.status == "queued"


def test_nothing_is_left_when_it_stops(cluster: Cluster) -> None:
    folder = cluster.workers.folder
    assert folder is not None
    cluster.workers.stop()
    assert processes(WORKER) + processes(DISPATCHER) + processes(CONTROLLER) == []
    assert not folder.exists()
    assert not (Path.home() / ".ray" / "auth_token").exists()
