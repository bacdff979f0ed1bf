"""Limits per project: requests a minute, jobs at once, bytes stored."""

import asyncio
import contextlib
import threading

import openai
import pytest

from storage.connect import open_redis
from storage.limits import Limits, ProjectLimits
from storage.settings import StorageSettings
from tests.service.conftest import Serve, make_key
from tests.service.worker import Worker


def set_limits(storage: StorageSettings, project: str, limits: ProjectLimits) -> None:
    async def write() -> None:
        redis = open_redis(storage)
        store = Limits(redis, ProjectLimits(), prefix=storage.redis_prefix)
        await store.set(project, limits)
        await redis.aclose()

    asyncio.run(write())


@pytest.fixture
def alice(own_storage: StorageSettings) -> str:
    return make_key(own_storage, "alice")


def test_requests_a_minute(serve: Serve, alice: str) -> None:
    api = serve(auth="keys", requests_per_minute=3, worker=False).of(alice)
    left = [api.http.get("/videos").headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    response = api.http.get("/videos")
    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limited")
    assert 0 < int(response.headers["retry-after"]) <= 20
    assert response.headers["x-ratelimit-limit-requests"] == "3"
    assert response.headers["x-ratelimit-reset-requests"].endswith("s")


def test_a_projects_own_limit_wins(serve: Serve, own_storage: StorageSettings, alice: str) -> None:
    set_limits(own_storage, "alice", ProjectLimits(requests_per_minute=0))
    api = serve(auth="keys", requests_per_minute=1, worker=False).of(alice)
    responses = [api.http.get("/videos") for _ in range(4)]
    assert {response.status_code for response in responses} == {200}
    assert "x-ratelimit-limit-requests" not in responses[0].headers


def test_one_projects_use_is_not_anothers(
    serve: Serve, own_storage: StorageSettings, alice: str
) -> None:
    api = serve(auth="keys", requests_per_minute=1, worker=False)
    bob = make_key(own_storage, "bob")
    assert api.of(alice).http.get("/videos").status_code == 200
    assert api.of(alice).http.get("/videos").status_code == 429
    assert api.of(bob).http.get("/videos").status_code == 200


def test_jobs_at_once_also_when_they_come_together(serve: Serve, alice: str) -> None:
    api = serve(auth="keys", max_open_jobs=3).of(alice)
    answers: list[int] = []

    def submit() -> None:
        response = api.http.post("/videos", json={"prompt": "[hold]"})
        answers.append(response.status_code)
        if response.status_code == 429:
            assert response.json()["error"]["code"] == "too_many_jobs"
            assert response.headers["retry-after"] == "5"

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 3 + [429] * 5
    held = api.http.get("/videos").json()["data"]
    api.http.post(f"/videos/{held[0]['id']}/cancel")
    api.get(held[0]["id"], wait=10)
    assert api.http.post("/videos", json={"prompt": "[hold]"}).status_code == 200


def test_bytes_stored(
    serve: Serve, own_storage: StorageSettings, alice: str, worker: Worker
) -> None:
    size = len(worker.video)
    set_limits(own_storage, "alice", ProjectLimits(max_stored_bytes=2 * size))
    api = serve(auth="keys").of(alice)
    made = [api.finished()["id"] for _ in range(2)]
    response = api.http.post("/videos", json={"prompt": "A car."})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (429, "storage_quota_exceeded")
    assert f"{2 * size} bytes are stored for this project; allowed are" in error["message"]
    api.http.delete(f"/videos/{made[0]}")
    assert api.http.post("/videos", json={"prompt": "A car."}).status_code == 200


def test_the_sdk_waits_and_tries_again(serve: Serve, alice: str) -> None:
    api = serve(auth="keys", requests_per_minute=60, worker=False)
    with api.sdk(api_key=alice, max_retries=2) as sdk:
        for _ in range(61):
            sdk.models.list()  # the 61st is refused once: a token comes back each second
    with api.sdk(api_key=alice, max_retries=0) as sdk:
        for _ in range(2):  # and one more while the first of these was under way, at most
            with contextlib.suppress(openai.RateLimitError):
                sdk.models.list()
        with pytest.raises(openai.RateLimitError):
            sdk.models.list()
