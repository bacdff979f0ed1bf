"""The service's side of the job store, on a real Valkey."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas.errors import IdempotencyMismatch, InvalidRequest, NotFound, RateLimited
from schemas.jobs import JobError
from storage.jobs.jobs import Jobs, open_jobs
from storage.jobs.records import LeaseLost
from tests.storage.specs import RESULT, make_spec

OOM = JobError(code="out_of_memory", message="the model does not fit")


async def ids(jobs: Jobs, project: str = "p") -> list[str]:
    listed, _ = await jobs.store.list(project, after=None, limit=1000, order="asc")
    return [job.spec.id for job in listed]


async def keys(redis: Redis, prefix: str) -> set[str]:
    return {key.decode() async for key in redis.scan_iter(f"{prefix}:*")}


async def test_a_job_comes_back_as_accepted(jobs: Jobs) -> None:
    spec = make_spec("a", priority="high", retention_s=60, webhook_url="https://example.com/hook")
    (job,) = await jobs.store.submit([spec])
    assert job.spec == spec
    assert (job.state.status, job.state.attempts, job.state.fence) == ("queued", 0, 0)
    assert await jobs.store.get("p", "a") == job
    assert await jobs.maintenance.queue_depths() == {"high": 1, "normal": 0, "low": 0}
    assert await jobs.maintenance.count_open("p") == 1
    (event,) = await jobs.events.read("a")
    assert (event.type, event.data) == ("queued", {})


async def test_a_version_that_lacks_a_feature_reads_jobs_without_it(
    jobs: Jobs, redis: Redis, prefix: str
) -> None:
    (job,) = await jobs.store.submit([make_spec("video_1")])
    kept = json.loads((await redis.hget(f"{prefix}:job:video_1", "spec")) or b"")
    unused = {name for name in type(job.spec).model_fields if getattr(job.spec, name) is None}
    assert unused
    assert not unused & set(kept)


async def test_the_same_key_and_body_give_the_same_jobs(jobs: Jobs) -> None:
    first = await jobs.store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    again = await jobs.store.submit([make_spec("b")], idempotency_key="k", body_hash="h")
    assert again == first
    assert await jobs.store.find_accepted("p", "k", "h") == first
    assert await jobs.store.find_accepted("p", "new", "h") == []
    other = await jobs.store.submit([make_spec("c", "q")], idempotency_key="k", body_hash="x")
    assert other[0].spec.id == "c"
    assert await ids(jobs) == ["a"]


async def test_the_same_key_with_another_body_is_refused(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    with pytest.raises(IdempotencyMismatch, match="Idempotency-Key"):
        await jobs.store.submit([make_spec("b")], idempotency_key="k", body_hash="other")
    assert await ids(jobs) == ["a"]


async def test_a_key_whose_jobs_are_deleted_is_free(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    await jobs.store.delete("p", "a")
    (job,) = await jobs.store.submit([make_spec("b")], idempotency_key="k", body_hash="h")
    assert job.spec.id == "b"


async def test_concurrent_retries_are_accepted_once(jobs: Jobs) -> None:
    tries = [
        jobs.store.submit([make_spec(f"v{i}")], idempotency_key="k", body_hash="h")
        for i in range(20)
    ]
    found = {listed[0].spec.id for listed in await asyncio.gather(*tries)}
    assert len(found) == 1
    assert await ids(jobs) == list(found)
    assert len(await jobs.queue.read("c", 100)) == 1


async def test_a_lost_answer_is_not_two_jobs(jobs: Jobs) -> None:
    """The client's retry on a broken connection sends the same script twice."""
    await jobs.store.submit([make_spec("a")], max_open=1)
    await jobs.claims.claim("a", "w", 60)
    (job,) = await jobs.store.submit([make_spec("a")], max_open=1)
    assert job.state.status == "in_progress"
    assert len(await jobs.queue.read("c", 100)) == 1
    with pytest.raises(ValueError, match="another project's"):
        await jobs.store.submit([make_spec("a", "q")])


async def test_a_batch_is_accepted_whole_or_not(jobs: Jobs) -> None:
    batch = [make_spec(f"v{i}") for i in range(3)]
    with pytest.raises(RateLimited, match="0 jobs of this project"):
        await jobs.store.submit(batch, max_open=2)
    assert await ids(jobs) == []
    listed = await jobs.store.submit(batch, max_open=3)
    assert [job.spec for job in listed] == batch
    with pytest.raises(RateLimited, match="3 jobs of this project"):
        await jobs.store.submit([make_spec("w")], max_open=3)
    await jobs.store.submit([make_spec("w", "q")], max_open=3)


async def test_other_projects_do_not_exist(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    for ask in (jobs.store.get, jobs.store.request_cancel, jobs.store.delete):
        with pytest.raises(NotFound, match="no video 'a'"):
            await ask("q", "a")
        with pytest.raises(NotFound, match="no video 'none'"):
            await ask("p", "none")
    with pytest.raises(NotFound, match="after"):
        await jobs.store.list("q", after="a", limit=1, order="asc")
    assert await ids(jobs, "q") == []
    assert (await jobs.store.get("p", "a")).state.status == "queued"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_show_each_job_once(jobs: Jobs, order: Any) -> None:
    names = [f"v{number}" for number in range(7)]
    await jobs.store.submit([make_spec(name) for name in names])
    seen: list[str] = []
    more, after = True, None
    while more:
        page, more = await jobs.store.list("p", after=after, limit=3, order=order)
        seen += [job.spec.id for job in page]
        after = seen[-1]
        await jobs.store.delete("p", after)  # a page goes on from an id that is gone
        await jobs.store.submit([make_spec(f"new-{after}")])
    shown = [name for name in seen if not name.startswith("new")]
    assert shown == (names if order == "asc" else names[::-1])


async def test_a_page_that_ends_the_list_says_so(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a"), make_spec("b")])
    assert (await jobs.store.list("p", after=None, limit=2, order="asc"))[1] is False
    assert (await jobs.store.list("p", after="b", limit=2, order="asc")) == ([], False)
    for limit in (0, 1001):
        with pytest.raises(InvalidRequest, match=f"limit: {limit}"):
            await jobs.store.list("p", after=None, limit=limit, order="asc")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_list_of_one_status(
    jobs: Jobs, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.jobs.job_store._PASSED_OVER_MAX", 3)  # of ten: several calls
    await jobs.store.submit([make_spec(f"v{number}") for number in range(10)])
    for number in (2, 7, 8):
        await jobs.store.request_cancel("p", f"v{number}")
    failed = ["v2", "v7", "v8"] if order == "asc" else ["v8", "v7", "v2"]

    async def page(after: str | None, limit: int) -> tuple[list[str], bool]:
        found, more = await jobs.store.list(
            "p", after=after, limit=limit, order=order, status="failed"
        )
        return [job.spec.id for job in found], more

    assert await page(None, 2) == (failed[:2], True)
    assert await page(failed[1], 2) == (failed[2:], False)
    assert await page(None, 3) == (failed, False), "no further one fits"
    assert (await jobs.store.list("p", after=None, limit=9, order=order, status="completed")) == (
        [], False,
    )  # fmt: skip


async def test_a_list_of_one_model(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a"), make_spec("b")])
    model = make_spec("a").recipe.generation.model
    for wanted, found in ((model, ["a", "b"]), ("other", [])):
        page, _ = await jobs.store.list("p", after=None, limit=9, order="asc", model=wanted)
        assert [job.spec.id for job in page] == found


async def commands(redis: Redis) -> dict[str, int]:
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


async def cost(redis: Redis, ask: Any) -> dict[str, int]:
    """How many commands the server ran for ``ask``, scripts' own included.

    The least of several: others may use the server at the same time.
    """
    counts = []
    for _ in range(5):
        before = await commands(redis)
        await ask()
        after = await commands(redis)
        counts.append({n: c - before.get(n, 0) for n, c in after.items() if c > before.get(n, 0)})
    return min(counts, key=lambda count: sum(count.values()))


async def test_reading_costs_the_same_among_10000_jobs(jobs: Jobs, redis: Redis) -> None:
    await jobs.store.submit([make_spec(f"v{i:05d}") for i in range(100)])
    await jobs.store.list("p", after=None, limit=20, order="asc")  # loads the script
    few = await cost(redis, lambda: jobs.store.list("p", after="v00050", limit=20, order="desc"))
    for first in range(100, 10_000, 900):
        await jobs.store.submit([make_spec(f"v{i:05d}") for i in range(first, first + 900)])
    many = await cost(redis, lambda: jobs.store.list("p", after="v05000", limit=20, order="desc"))
    assert many == few
    assert many["hgetall"] == 20
    assert many["evalsha"] == 1
    status = await cost(redis, lambda: jobs.store.get("p", "v05000"))
    assert status == {"hgetall": 1, "info": 1}  # one round trip


async def test_a_queued_job_is_cancelled_at_once(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a", retention_s=60)])
    job = await jobs.store.request_cancel("p", "a")
    assert job.state.status == "failed"
    assert job.state.error is not None
    assert job.state.error.code == "cancelled"
    assert job.state.completed_at is not None
    assert job.state.expires_at == job.state.completed_at + 60
    assert await jobs.queue.read("c", 10) == []
    assert await jobs.maintenance.count_open("p") == 0
    assert await jobs.maintenance.queue_depths() == {"high": 0, "normal": 0, "low": 0}
    assert [event.type for event in await jobs.events.read("a")] == ["queued", "failed"]
    assert await jobs.store.request_cancel("p", "a") == job


async def test_a_running_job_is_asked_to_stop(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    assert await jobs.claims.heartbeat(claim, 60) is False
    job = await jobs.store.request_cancel("p", "a")
    assert (job.state.status, job.state.cancel_requested) == ("in_progress", True)
    assert await jobs.claims.heartbeat(claim, 60) is True
    assert await jobs.claims.progress(claim, step=1, total=4, data={}, lease_s=60) is True


async def test_a_job_nobody_runs_any_more_is_cancelled_at_once(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    await jobs.claims.claim("a", "w", 60)
    await jobs.queue.forfeit("a", "w", OOM)
    assert (await jobs.store.request_cancel("p", "a")).state.status == "failed"


async def test_a_finished_job_stays_when_cancelled(jobs: Jobs) -> None:
    await jobs.store.submit([make_spec("a")])
    claim = await jobs.claims.claim("a", "w", 60)
    assert claim is not None
    await jobs.claims.complete(claim, RESULT, None)
    assert (await jobs.store.request_cancel("p", "a")).state == (
        await jobs.store.get("p", "a")
    ).state
    assert (await jobs.store.get("p", "a")).state.status == "completed"


@pytest.mark.parametrize("stage", ["queued", "delivered", "running", "completed", "dead"])
async def test_a_deleted_job_leaves_nothing(
    jobs: Jobs, redis: Redis, prefix: str, stage: str
) -> None:
    jobs = open_jobs(redis, prefix=prefix, max_attempts=1)
    await jobs.store.submit([make_spec("a", retention_s=60)])
    if stage != "queued":
        await jobs.queue.read("c", 10)
    claim = await jobs.claims.claim("a", "w", 60) if stage not in ("queued", "delivered") else None
    if claim and stage == "completed":
        await jobs.claims.complete(claim, RESULT, 60)
    if claim and stage == "dead":
        await jobs.claims.release(claim, OOM)

    was = await jobs.store.delete("p", "a")
    assert was.spec.id == "a"
    with pytest.raises(NotFound):
        await jobs.store.get("p", "a")
    if claim and stage == "running":
        with pytest.raises(LeaseLost):
            await jobs.claims.heartbeat(claim, 60)
    assert await jobs.claims.claim("a", "w", 60) is None
    assert await jobs.queue.reclaim("c2", 0) == []
    assert await jobs.events.read("a") == []
    assert await jobs.maintenance.list_dead() == []
    assert (await jobs.maintenance.count_running(), await jobs.maintenance.count_open("p")) == (
        0,
        0,
    )
    left = {key.split(":", 1)[1] for key in await keys(redis, prefix)}
    queues = {f"queue:{priority}" for priority in ("high", "normal", "low")}
    assert await redis.hget(f"{prefix}:video_bytes", "p") in (None, b"0")
    counters = {"sequence", "turn", "finished", "dead", "video_bytes", "place", "rota_turn", "wake"}
    assert left - queues - counters <= {"cursor:p:a"}
