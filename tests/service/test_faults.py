"""What fails below the API: a fault shows nothing of itself, a store that is away is waited for."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import httpx
import redis

from service.settings import ServiceSettings
from storage.embedded.valkey import EmbeddedValkey
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, running, storage_settings
from tests.service.worker import Worker


def test_a_fault_of_ours_is_a_500_that_says_nothing_of_it(
    api: Api, storage: StorageSettings
) -> None:
    """A record that cannot be read, which no code of ours writes."""
    video_id = api.create()["id"]
    with redis.Redis.from_url(storage.redis_url) as client:
        client.hset(f"{storage.redis_prefix}:job:{video_id}", "spec", "{broken /etc/secret")
        response = api.http.get(f"/videos/{video_id}")
        client.delete(f"{storage.redis_prefix}:job:{video_id}")
        client.zrem(f"{storage.redis_prefix}:videos:default", video_id)
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "server_error",
        "internal_error",
        None,
    )
    assert error["message"] == f"a fault of ours; quote request {response.headers['x-request-id']}"


def test_a_redis_that_restarts_is_waited_for(tmp_path: Path) -> None:
    """Nothing accepted is lost, and requests in between are answered when it is back."""
    valkey = EmbeddedValkey()
    settings = storage_settings(valkey.start(tmp_path / "valkey"), tmp_path / "objects", "restart")
    worker = Worker(settings)
    worker.start()
    answers: list[int] = []
    with running(ServiceSettings(storage=settings, port=0)) as api:
        video_id = api.create("[hold]")["id"]
        url = f"{api.url}/v1/videos/{video_id}"
        valkey.stop()
        thread = threading.Thread(
            target=lambda: answers.append(httpx.get(url, timeout=60).status_code)
        )
        thread.start()
        assert httpx.get(f"{api.url}/healthz").status_code == 200
        valkey.start(tmp_path / "valkey")
        thread.join(60)
        assert answers == [200]
        worker.release()
        assert api.get(video_id, wait=20)["status"] in ("completed", "in_progress")
    worker.stop()
    valkey.stop()


def test_a_redis_that_hangs_is_a_503_within_the_time_promised(tmp_path: Path) -> None:
    """Stopped, it accepts connections and never answers. The clients' own time-outs are what fails
    here; the server's default is 20 s."""
    valkey = EmbeddedValkey()
    settings = storage_settings(valkey.start(tmp_path / "valkey"), tmp_path / "objects", "hang")
    settings = settings.model_copy(update={"redis_timeout_s": 2.0})
    worker = Worker(settings)
    worker.start()
    with running(ServiceSettings(storage=settings, port=0)) as api:
        video_id = api.finished()["id"]
        worker.stop()
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            for path, body in ((f"/videos/{video_id}", None), ("/videos", {"prompt": "A car."})):
                method = "POST" if body else "GET"
                response = api.http.request(method, path, json=body, timeout=15)
                assert (response.status_code, response.json()["error"]["code"]) == (
                    503,
                    "unavailable",
                )
                assert response.headers["retry-after"]
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        assert api.get(video_id)["status"] == "completed"
    valkey.stop()


def test_an_object_store_that_fails_is_a_503(serve: Serve, own_storage: StorageSettings) -> None:
    """A folder where the film should be: not missing, and not readable."""
    api = serve()
    video_id = api.finished()["id"]
    root = Path(own_storage.object_url.removeprefix("file://"))
    (film,) = (root / "videos" / "default" / video_id).rglob("video.mp4")
    film.unlink()
    film.symlink_to(film)  # reading it goes round in circles
    response = api.http.get(f"/videos/{video_id}/content")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert str(root) not in response.text


async def test_many_at_once_wait_for_a_connection(api: Api) -> None:
    video_id = api.create()["id"]
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=f"{api.url}/v1", limits=limits, timeout=60) as client:
        answers = await asyncio.gather(*(client.get(f"/videos/{video_id}") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
