"""How long pictures of maps live, and whose they are: an artifact's, and never a video."""

import asyncio
import time

from storage.connect import open_redis
from storage.jobs.maintenance import Maintenance
from storage.settings import StorageSettings
from tests.service.conftest import Serve, make_key, wait_for
from tests.service.jobs.test_maps import ask, error_of, pictures
from tests.service.routes.test_attention import publish
from tests.service.routes.test_webhooks import ALLOWED, EVERY, Receiver
from tests.service.worker import Worker


def test_it_goes_with_its_artifact(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve()
    kept = publish(own_storage, "2" * 64, "video_00000000")
    video = api.finished()
    one = publish(own_storage, video["source_key"], video["id"], "a")
    other = publish(own_storage, video["source_key"], video["id"], "b")
    for id in (kept, one, other):
        assert ask(api, id).status_code == 200
    api.http.delete(f"/attention/artifacts/{one}")
    assert ask(api, one).status_code == 404
    assert [one in key for key in pictures(own_storage)].count(True) == 0
    assert len(pictures(own_storage)) == 2
    api.http.delete(f"/videos/{video['id']}")
    assert ask(api, other).status_code == 404
    assert all(kept in key for key in pictures(own_storage))
    assert asyncio.run(records(own_storage)) == 1


async def records(storage: StorageSettings) -> int:
    """How many map jobs there are."""
    redis = open_redis(storage)
    try:
        return len([key async for key in redis.scan_iter(f"{storage.redis_prefix}:job:map_*")])
    finally:
        await redis.aclose()


def test_one_under_way_goes_too(serve: Serve, own_storage: StorageSettings) -> None:
    worker = Worker(own_storage)
    worker.start()
    api = serve(worker=False)
    id = publish(own_storage, "1" * 64, "video_00000000", prompt="[hold]")
    ask(api, id, wait=0)
    wait_for(lambda: worker.claimed, "the job to be taken")
    api.http.delete(f"/attention/artifacts/{id}")
    assert asyncio.run(records(own_storage)) == 0
    assert asyncio.run(open_jobs(own_storage)) == 0
    assert ask(api, id).status_code == 404
    worker.stop()


async def open_jobs(storage: StorageSettings) -> int:
    redis = open_redis(storage)
    try:
        return await Maintenance(redis, prefix=storage.redis_prefix).count_open("default")
    finally:
        await redis.aclose()


def test_it_goes_when_its_time_is_over(serve: Serve, own_storage: StorageSettings) -> None:
    """The picture alone: not the video or the attention that it was made from."""
    api = serve(map_retention_s=1, sweep_s=0.05)
    video = api.finished()
    id = publish(own_storage, video["source_key"], video["id"])
    of_no_video = publish(own_storage, "1" * 64, "video_00000000")
    first = ask(api, id)
    assert first.status_code == ask(api, of_no_video).status_code == 200
    wait_for(lambda: pictures(own_storage) == [], "the pictures to go")
    wait_for(lambda: asyncio.run(records(own_storage)) == 0, "their records to go")
    assert api.http.get(f"/attention/artifacts/{of_no_video}").status_code == 200
    assert api.http.get(f"/attention/artifacts/{id}").json()["videos"] == [video["id"]]
    assert api.get(video["id"])["status"] == "completed"
    assert ask(api, id).content == first.content, "it is made anew"


def test_it_goes_when_its_artifact_expires(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(sweep_s=0.05)
    soon = int(time.time()) + 2
    id = publish(own_storage, "1" * 64, "video_00000000", expires_at=soon)
    assert ask(api, id).status_code == 200
    wait_for(lambda: pictures(own_storage) == [], "the picture to go")
    assert asyncio.run(records(own_storage)) == 0
    assert ask(api, id).status_code == 404


def test_a_key_that_may_only_read_sees_what_is_made(
    serve: Serve, own_storage: StorageSettings
) -> None:
    keys = make_key(own_storage, "alice"), make_key(own_storage, "alice", "read")
    writer, reader = map(serve(auth="keys").of, keys)
    id = publish(own_storage, "1" * 64, "video_00000000", project="alice")
    response = ask(reader, id)
    assert error_of(response) == (403, "insufficient_scope", None)
    assert "needs write" in response.json()["error"]["message"]
    assert pictures(own_storage, "alice") == []
    assert ask(writer, id).status_code == ask(reader, id).status_code == 200


def test_it_is_no_video(serve: Serve, own_storage: StorageSettings) -> None:
    receiver = Receiver()
    api = serve(**ALLOWED)
    api.http.post(
        "/webhook_endpoints", json={"name": "a", "url": receiver.url, "event_types": EVERY}
    )
    id = publish(own_storage, "1" * 64, "video_00000000")
    assert ask(api, id).status_code == 200
    (key,) = pictures(own_storage)
    map_id = key.split("/")[3]
    assert api.count() == 0
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content"), ("GET", "/lineage"),
    ):  # fmt: skip
        response = api.http.request(method, f"/videos/{map_id}{path}")
        assert response.status_code == 404, (method, path)
    body = {"prompt": "A red car.", "video": {"id": map_id}}
    assert api.http.post("/videos/edits", json=body).status_code == 400
    assert api.http.get("/videos", params={"after": map_id}).status_code == 404
    assert api.http.get(f"/attention/artifacts/{id}").json()["videos"] == ["video_00000000"]
    # a video that ends later is heard of, and it alone
    video = api.finished()
    wait_for(lambda: api.http.get("/webhook_deliveries").json()["data"], "the webhook")
    deliveries = api.http.get("/webhook_deliveries").json()["data"]
    assert [each["video_id"] for each in deliveries] == [video["id"]]
    text = api.http.get(f"{api.url}/metrics").text
    assert 'retake_jobs_ended_total{kind="map",outcome="completed"} 1.0' in text
    receiver.stop()


def test_it_counts_among_the_open_jobs(serve: Serve, own_storage: StorageSettings) -> None:
    alice = make_key(own_storage, "alice")
    api = serve(auth="keys", max_open_jobs=1).of(alice)
    id = publish(own_storage, "1" * 64, "video_00000000", project="alice", prompt="[hold]")
    ask(api, id, wait=0)
    assert error_of(ask(api, id, wait=0)) == (503, "map_not_ready", None), "joined, not another"
    response = ask(api, id, layer=1, wait=0)
    assert error_of(response) == (429, "too_many_jobs", None)
    assert response.headers["retry-after"] == "5"
