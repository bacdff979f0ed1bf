"""A dispatcher on a real Valkey; its workers run in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from ray.exceptions import RayError

from storage.jobs.jobs import Jobs
from storage.objects.objects import ObjectStore
from tests.workers.scripted import spec_of
from tests.workers.waiting import ended, release, stepped, until
from workers.control.dispatcher import Dispatching
from workers.control.lease import HandBack, Lease
from workers.control.routing_request import RoutingRequest
from workers.control.run_job import JobContext, run_job

Open = Callable[[int], Dispatching]


class Worker:
    """Runs whatever it is called with at once; hands back where its call is cancelled."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.free = asyncio.Semaphore(100)  # of its replicas, as Serve's router waits for one
        self.called: list[str] = []
        self.running = self.most = 0
        self.failing = 0  # so many calls end before they reach a worker

    async def __call__(self, request: RoutingRequest) -> None:
        self.called.append(request.video_id)
        if self.failing:
            self.failing -= 1
            raise RayError
        async with self.free:
            await self.run(request)

    async def run(self, request: RoutingRequest) -> None:
        leases: list[Lease | None] = []
        self.running += 1
        self.most = max(self.most, self.running)
        job = asyncio.create_task(run_job(self.context, request.video_id, leases.append))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            if leases and leases[0] is not None:
                leases[0].interrupt(HandBack())
            raise
        finally:
            self.running -= 1


@pytest.fixture
def worker(context: JobContext) -> Worker:
    return Worker(context)


@pytest.fixture
async def open_dispatcher(jobs: Jobs, worker: Worker) -> AsyncIterator[Open]:
    opened: list[Dispatching] = []

    def open_one(capacity: int) -> Dispatching:
        dispatching = Dispatching(jobs.queue, worker, lambda: capacity, lease_s=2.0)
        dispatching.start()
        opened.append(dispatching)
        return dispatching

    yield open_one
    for dispatching in opened:
        await dispatching.drain(0)


async def test_no_more_calls_are_open_than_there_is_capacity(
    jobs: Jobs, worker: Worker, objects: ObjectStore, open_dispatcher: Open
) -> None:
    specs = [spec_of(number, "hold") for number in range(6)]
    await jobs.store.submit(specs)
    open_dispatcher(2)
    for spec in specs[:2]:
        await stepped(jobs, spec.id)
    assert (await jobs.maintenance.queue_depths())["normal"] == 4
    for spec in specs:
        release(objects, spec.id)
    for spec in specs:
        assert (await ended(jobs, spec.id)).state.status == "completed"
    assert worker.most == 2
    assert sorted(worker.called) == [spec.id for spec in specs]


async def test_a_call_that_fails_is_made_again(
    jobs: Jobs, worker: Worker, open_dispatcher: Open
) -> None:
    worker.failing = 2
    await jobs.store.submit([spec_of(1)])
    open_dispatcher(1)
    assert (await ended(jobs, "video_00000001")).state.status == "completed"
    assert worker.called == ["video_00000001"] * 3


async def test_a_drained_one_takes_nothing_and_has_its_jobs_handed_back(
    jobs: Jobs, worker: Worker, open_dispatcher: Open
) -> None:
    await jobs.store.submit([spec_of(1, "hold")])
    dispatching = open_dispatcher(1)
    await stepped(jobs, "video_00000001")
    await dispatching.drain(0.1)
    await jobs.store.submit([spec_of(2)])
    for video_id in ("video_00000001", "video_00000002"):
        state = (await jobs.store.get("tests", video_id)).state
        assert (state.status, state.attempts) == ("queued", 0)
    assert worker.called == ["video_00000001"]
    assert dispatching.healthy


async def test_a_drained_one_waits_for_what_ends_in_time(
    jobs: Jobs, objects: ObjectStore, open_dispatcher: Open
) -> None:
    await jobs.store.submit([spec_of(1, "hold")])
    dispatching = open_dispatcher(1)
    await stepped(jobs, "video_00000001")
    draining = asyncio.create_task(dispatching.drain(60))
    release(objects, "video_00000001")
    await draining
    assert (await jobs.store.get("tests", "video_00000001")).state.status == "completed"


async def test_a_drain_with_a_backlog_begins_nothing_and_does_not_wait_for_it(
    jobs: Jobs, worker: Worker, objects: ObjectStore, open_dispatcher: Open
) -> None:
    """One runs, one waits for the worker, more wait in line."""
    worker.free = asyncio.Semaphore(1)
    await jobs.store.submit([spec_of(number, "hold") for number in range(21)])
    dispatching = open_dispatcher(2)
    await stepped(jobs, "video_00000000")

    async def waits() -> bool:
        return len(worker.called) == 2

    await until(waits, "a second job waits for the worker")
    draining = asyncio.create_task(dispatching.drain(3600))

    async def let_go() -> bool:
        places = await jobs.store.queue_positions([f"video_{n:08d}" for n in range(1, 21)])
        return places == list(range(1, 21))

    await until(let_go, "the waiting job is in line again, the first of all")
    release(objects, "video_00000000")
    async with asyncio.timeout(30):
        await draining
    assert (await jobs.store.get("tests", "video_00000000")).state.status == "completed"
    assert worker.most == 1
    taken = await jobs.queue.read("another", 100)  # at once: nobody's silence is waited for
    assert [held.video_id for held in taken] == [f"video_{n:08d}" for n in range(1, 21)]


async def test_a_drain_whose_time_is_up_leaves_a_backlog_at_once(
    jobs: Jobs, worker: Worker, open_dispatcher: Open
) -> None:
    worker.free = asyncio.Semaphore(1)
    await jobs.store.submit([spec_of(number, "hold") for number in range(21)])
    dispatching = open_dispatcher(2)
    await stepped(jobs, "video_00000000")
    async with asyncio.timeout(30):
        await dispatching.drain(0.1)
    assert len(await jobs.queue.read("another", 100)) == 21
    states = [(await jobs.store.get("tests", f"video_{n:08d}")).state for n in range(21)]
    assert {(state.status, state.attempts) for state in states} == {("queued", 0)}


async def test_entries_of_one_that_went_silent_are_taken_over(
    jobs: Jobs, open_dispatcher: Open
) -> None:
    await jobs.store.submit([spec_of(1)])
    assert len(await jobs.queue.read("gone", 1)) == 1
    open_dispatcher(1)
    assert (await ended(jobs, "video_00000001")).state.status == "completed"


async def test_what_another_worker_holds_is_left_to_it(
    jobs: Jobs, worker: Worker, open_dispatcher: Open
) -> None:
    await jobs.store.submit([spec_of(1)])
    claim = await jobs.claims.claim("video_00000001", "elsewhere", 60)
    assert claim is not None
    open_dispatcher(1)

    async def called_twice() -> bool:
        return len(worker.called) >= 2

    await until(called_twice, "the dispatcher asks again")
    assert (await jobs.store.get("tests", "video_00000001")).state.worker == "elsewhere"
    await jobs.claims.release(claim)
    assert (await ended(jobs, "video_00000001")).state.status == "completed"
