"""The service's side of the job store, on a real Valkey."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas.errors import IdempotencyMismatch, InvalidRequest, NotFound, RateLimited
from schemas.jobs import Job, JobError
from storage.jobs.job_store import JobStore, LeaseLost
from tests.storage.specs import RESULT, make_spec

OOM = JobError(code="out_of_memory", message="the model does not fit")


async def ids(store: JobStore, project: str = "p") -> list[str]:
    jobs, _ = await store.list(project, after=None, limit=1000, order="asc")
    return [job.spec.id for job in jobs]


async def keys(redis: Redis, prefix: str) -> set[str]:
    return {key.decode() async for key in redis.scan_iter(f"{prefix}:*")}


async def test_a_job_comes_back_as_accepted(store: JobStore) -> None:
    spec = make_spec("a", priority="high", retention_s=60, webhook_url="https://example.com/hook")
    (job,) = await store.submit([spec])
    assert job.spec == spec
    assert (job.state.status, job.state.attempts, job.state.fence) == ("queued", 0, 0)
    assert await store.get("p", "a") == job
    assert await store.depths() == {"high": 1, "normal": 0, "low": 0}
    assert await store.count("p") == 1
    (event,) = await store.events("a")
    assert (event.type, event.data) == ("queued", {})


async def test_a_version_that_lacks_a_feature_reads_jobs_without_it(
    store: JobStore, redis: Redis, prefix: str
) -> None:
    (job,) = await store.submit([make_spec("video_1")])
    kept = json.loads((await redis.hget(f"{prefix}:job:video_1", "spec")) or b"")
    unused = {name for name in type(job.spec).model_fields if getattr(job.spec, name) is None}
    assert unused
    assert not unused & set(kept)


async def test_the_same_key_and_body_give_the_same_jobs(store: JobStore) -> None:
    first = await store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    again = await store.submit([make_spec("b")], idempotency_key="k", body_hash="h")
    assert again == first
    assert await store.accepted("p", "k", "h") == first
    assert await store.accepted("p", "new", "h") == []
    other = await store.submit([make_spec("c", "q")], idempotency_key="k", body_hash="x")
    assert other[0].spec.id == "c"
    assert await ids(store) == ["a"]


async def test_the_same_key_with_another_body_is_refused(store: JobStore) -> None:
    await store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    with pytest.raises(IdempotencyMismatch, match="Idempotency-Key"):
        await store.submit([make_spec("b")], idempotency_key="k", body_hash="other")
    assert await ids(store) == ["a"]


async def test_a_key_whose_jobs_are_deleted_is_free(store: JobStore) -> None:
    await store.submit([make_spec("a")], idempotency_key="k", body_hash="h")
    await store.delete("p", "a")
    (job,) = await store.submit([make_spec("b")], idempotency_key="k", body_hash="h")
    assert job.spec.id == "b"


async def test_concurrent_retries_are_accepted_once(store: JobStore) -> None:
    tries = [
        store.submit([make_spec(f"v{i}")], idempotency_key="k", body_hash="h") for i in range(20)
    ]
    found = {jobs[0].spec.id for jobs in await asyncio.gather(*tries)}
    assert len(found) == 1
    assert await ids(store) == list(found)
    assert len(await store.read("c", 100)) == 1


async def test_a_lost_answer_is_not_two_jobs(store: JobStore) -> None:
    """The client's retry on a broken connection sends the same script twice."""
    await store.submit([make_spec("a")], max_open=1)
    await store.claim("a", "w", 60)
    (job,) = await store.submit([make_spec("a")], max_open=1)
    assert job.state.status == "in_progress"
    assert len(await store.read("c", 100)) == 1
    with pytest.raises(ValueError, match="another project's"):
        await store.submit([make_spec("a", "q")])


async def test_a_batch_is_accepted_whole_or_not(store: JobStore) -> None:
    batch = [make_spec(f"v{i}") for i in range(3)]
    with pytest.raises(RateLimited, match="0 jobs of this project"):
        await store.submit(batch, max_open=2)
    assert await ids(store) == []
    jobs = await store.submit(batch, max_open=3)
    assert [job.spec for job in jobs] == batch
    with pytest.raises(RateLimited, match="3 jobs of this project"):
        await store.submit([make_spec("w")], max_open=3)
    await store.submit([make_spec("w", "q")], max_open=3)


async def test_other_projects_do_not_exist(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    for ask in (store.get, store.request_cancel, store.delete):
        with pytest.raises(NotFound, match="no video 'a'"):
            await ask("q", "a")
        with pytest.raises(NotFound, match="no video 'none'"):
            await ask("p", "none")
    with pytest.raises(NotFound, match="after"):
        await store.list("q", after="a", limit=1, order="asc")
    assert await ids(store, "q") == []
    assert (await store.get("p", "a")).state.status == "queued"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_show_each_job_once(store: JobStore, order: Any) -> None:
    names = [f"v{number}" for number in range(7)]
    await store.submit([make_spec(name) for name in names])
    seen: list[str] = []
    more, after = True, None
    while more:
        page, more = await store.list("p", after=after, limit=3, order=order)
        seen += [job.spec.id for job in page]
        after = seen[-1]
        await store.delete("p", after)  # a page goes on from an id that is gone
        await store.submit([make_spec(f"new-{after}")])
    shown = [name for name in seen if not name.startswith("new")]
    assert shown == (names if order == "asc" else names[::-1])


async def test_a_page_that_ends_the_list_says_so(store: JobStore) -> None:
    await store.submit([make_spec("a"), make_spec("b")])
    assert (await store.list("p", after=None, limit=2, order="asc"))[1] is False
    assert (await store.list("p", after="b", limit=2, order="asc")) == ([], False)
    for limit in (0, 1001):
        with pytest.raises(InvalidRequest, match=f"limit: {limit}"):
            await store.list("p", after=None, limit=limit, order="asc")


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


async def test_reading_costs_the_same_among_10000_jobs(store: JobStore, redis: Redis) -> None:
    await store.submit([make_spec(f"v{i:05d}") for i in range(100)])
    await store.list("p", after=None, limit=20, order="asc")  # loads the script
    few = await cost(redis, lambda: store.list("p", after="v00050", limit=20, order="desc"))
    for first in range(100, 10_000, 900):
        await store.submit([make_spec(f"v{i:05d}") for i in range(first, first + 900)])
    many = await cost(redis, lambda: store.list("p", after="v05000", limit=20, order="desc"))
    assert many == few
    assert many["hgetall"] == 20
    assert many["evalsha"] == 1
    status = await cost(redis, lambda: store.get("p", "v05000"))
    assert status == {"hgetall": 1, "info": 1}  # one round trip


async def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    await store.submit([make_spec("a", retention_s=60)])
    job = await store.request_cancel("p", "a")
    assert job.state.status == "failed"
    assert job.state.error is not None
    assert job.state.error.code == "cancelled"
    assert job.state.completed_at is not None
    assert job.state.expires_at == job.state.completed_at + 60
    assert await store.read("c", 10) == []
    assert await store.count("p") == 0
    assert await store.depths() == {"high": 0, "normal": 0, "low": 0}
    assert [event.type for event in await store.events("a")] == ["queued", "failed"]
    assert await store.request_cancel("p", "a") == job


async def test_a_running_job_is_asked_to_stop(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    assert await store.heartbeat(claim, 60) is False
    job = await store.request_cancel("p", "a")
    assert (job.state.status, job.state.cancel_requested) == ("in_progress", True)
    assert await store.heartbeat(claim, 60) is True
    assert await store.progress(claim, step=1, total=4, data={}, lease_s=60) is True


async def test_a_job_nobody_runs_any_more_is_cancelled_at_once(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    await store.claim("a", "w", 60)
    await store.forfeit("a", "w", OOM)
    assert (await store.request_cancel("p", "a")).state.status == "failed"


async def test_a_finished_job_stays_when_cancelled(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    await store.complete(claim, RESULT, None)
    assert (await store.request_cancel("p", "a")).state == (await store.get("p", "a")).state
    assert (await store.get("p", "a")).state.status == "completed"


@pytest.mark.parametrize("stage", ["queued", "delivered", "running", "completed", "dead"])
async def test_a_deleted_job_leaves_nothing(
    store: JobStore, redis: Redis, prefix: str, stage: str
) -> None:
    store = JobStore(redis, prefix=prefix, max_attempts=1)
    await store.submit([make_spec("a", retention_s=60)])
    if stage != "queued":
        await store.read("c", 10)
    claim = await store.claim("a", "w", 60) if stage not in ("queued", "delivered") else None
    if claim and stage == "completed":
        await store.complete(claim, RESULT, 60)
    if claim and stage == "dead":
        await store.release(claim, OOM)

    was = await store.delete("p", "a")
    assert was.spec.id == "a"
    with pytest.raises(NotFound):
        await store.get("p", "a")
    if claim and stage == "running":
        with pytest.raises(LeaseLost):
            await store.heartbeat(claim, 60)
    assert await store.claim("a", "w", 60) is None
    assert await store.reclaim("c2", 0) == []
    assert await store.events("a") == []
    assert await store.dead() == []
    assert (await store.running(), await store.count("p")) == (0, 0)
    left = {key.split(":", 1)[1] for key in await keys(redis, prefix)}
    queues = {f"queue:{priority}" for priority in ("high", "normal", "low")}
    assert await redis.hget(f"{prefix}:video_bytes", "p") in (None, b"0")
    counters = {"sequence", "turn", "finished", "dead", "video_bytes"}
    assert left - queues - counters <= {"cursor:p:a"}


async def test_events_resume_where_the_reader_was(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    await store.progress(claim, step=1, total=4, data={"phase": "denoise"}, lease_s=60)
    await store.progress(
        claim, step=1, total=4, data={"key": "previews/1"}, lease_s=60, event="preview"
    )
    first, second, *rest = await store.events("a")
    assert (first.type, second.type, second.data) == ("queued", "started", {"attempt": 1})
    assert await store.events("a", after=second.id) == rest
    assert rest[0].data == {"phase": "denoise", "step": 1, "total": 4}
    assert [event.type for event in rest] == ["progress", "preview"]

    waiting = asyncio.create_task(store.events("a", after=rest[-1].id, block_ms=10_000))
    await store.complete(claim, RESULT, None)
    (last,) = await waiting
    assert (last.type, last.data) == ("completed", {})
    assert await store.events("a", after=last.id, block_ms=1) == []


async def test_all_events_are_more_than_one_read(store: JobStore) -> None:
    await store.submit([make_spec("a")])
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    for step in range(1, 301):
        await store.progress(claim, step=step, total=300, data={}, lease_s=60)
    await store.complete(claim, RESULT, None)
    assert len(await store.events("a")) < 303
    types = [event.type for event in await store.all_events("a")]
    assert types == ["queued", "started", *["progress"] * 300, "completed"]


@pytest.mark.parametrize("after", ["x", "", "1-2-3", "$", "1-", "²", "9" * 30])
async def test_an_event_id_that_is_none_is_refused(store: JobStore, after: str) -> None:
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        await store.events("a", after=after)


async def test_events_of_an_ended_job_expire(store: JobStore, redis: Redis, prefix: str) -> None:
    await store.submit([make_spec("a")])
    assert await redis.ttl(f"{prefix}:events:a") == -1
    await store.request_cancel("p", "a")
    assert 3500 < await redis.ttl(f"{prefix}:events:a") <= 3600


async def test_expired_jobs_can_be_swept(store: JobStore) -> None:
    async def end(video_id: str, retention_s: int | None) -> Job:
        await store.submit([make_spec(video_id)])
        claim = await store.claim(video_id, "w", 60)
        assert claim is not None
        await store.complete(claim, RESULT, retention_s)
        return await store.get("p", video_id)

    kept, gone, also_gone = await end("kept", 3600), await end("gone", 0), await end("also", 0)
    assert kept.state.completed_at is not None
    assert kept.state.expires_at == kept.state.completed_at + 3600
    assert (await end("for-ever", None)).state.expires_at is None
    expired = await store.expired()
    assert sorted(job.spec.id for job in expired) == ["also", "gone"]
    assert len(await store.expired(limit=1)) == 1
    for job in (gone, also_gone):
        await store.delete("p", job.spec.id)
    assert await store.expired() == []


async def test_a_failed_job_can_be_retried(store: JobStore, redis: Redis, prefix: str) -> None:
    store = JobStore(redis, prefix=prefix, max_attempts=1)
    await store.submit([make_spec("a", retention_s=0), make_spec("b")])
    claim = await store.claim("a", "w", 60)
    assert claim is not None
    await store.release(claim, OOM)
    assert len(await store.expired()) == 1
    (letter,) = await store.dead()
    assert (letter.video_id, letter.error) == ("a", OOM)
    failed = await store.get("p", "a")
    assert (failed.state.status, failed.state.error) == ("failed", OOM)

    job = await store.retry("a")
    assert (job.state.status, job.state.attempts, job.state.error) == ("queued", 0, None)
    assert (job.state.expires_at, job.state.completed_at) == (None, None)
    assert await store.dead() == []
    assert await store.expired() == []
    assert await store.count("p") == 2
    assert await redis.ttl(f"{prefix}:events:a") == -1
    again = await store.claim("a", "w", 60)
    assert again is not None
    assert again.fence > claim.fence
    with pytest.raises(InvalidRequest, match="a is in_progress; only a failed job"):
        await store.retry("a")
    with pytest.raises(NotFound):
        await store.retry("none")
