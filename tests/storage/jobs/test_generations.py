"""Two Ray clusters on one Redis, as during an upgrade: who takes jobs."""

import pytest
from redis.asyncio import Redis

from storage.jobs.jobs import Jobs, open_jobs
from tests.storage.jobs.test_model_registry import make_card
from tests.storage.specs import RESULT, make_spec

CARD = make_card("a")


@pytest.fixture
def old(redis: Redis, prefix: str) -> Jobs:
    return open_jobs(redis, prefix=prefix, generation=1)


@pytest.fixture
def new(redis: Redis, prefix: str) -> Jobs:
    return open_jobs(redis, prefix=prefix, generation=2)


async def test_the_old_one_works_until_the_new_one_has_a_worker(old: Jobs, new: Jobs) -> None:
    await old.store.submit([make_spec(f"v{n}") for n in range(3)])
    await old.models.publish(CARD, 60)
    (held,) = await old.queue.read("old", 1)
    claim = await old.claims.claim(held.video_id, "w", 60)
    assert claim is not None

    await new.models.publish(CARD, 60)
    await old.models.publish(CARD, 60)  # its workers go on offering theirs
    assert await old.queue.read("old", 10, block_ms=1) == []
    assert [each.video_id for each in await new.queue.read("new", 1)] == ["v1"]
    assert await old.queue.reclaim("old", 0) == []
    assert await old.queue.keep_alive("old", [held]) == []  # what it has it keeps to the end
    await old.claims.complete(claim, RESULT)
    assert await old.queue.ack(held) is True


async def test_without_generations_all_take_jobs(jobs: Jobs, redis: Redis, prefix: str) -> None:
    await jobs.models.publish(CARD, 60)
    await jobs.store.submit([make_spec("a"), make_spec("b")])
    other = open_jobs(redis, prefix=prefix)
    assert len(await jobs.queue.read("one", 1)) == len(await other.queue.read("two", 1)) == 1
