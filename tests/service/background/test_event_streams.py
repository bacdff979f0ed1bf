"""Server-sent events: every step, resumable, ended when there is nothing more to come."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from retake.client import Client
from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, running, wait_for
from tests.service.worker import STEPS, Worker


def events_of(api: Api, video_id: str, last_id: str | None = None) -> list[dict[str, Any]]:
    """All events up to the end of the stream, with id, event and data."""
    headers = {"last-event-id": last_id} if last_id else {}
    with api.http.stream("GET", f"/videos/{video_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(parse(response.iter_lines()))


def parse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            event[name] = json.loads(value) if name == "data" else value
        elif event:
            yield event
            event = {}


def test_every_step_in_order_up_to_the_end(api: Api) -> None:
    events = events_of(api, api.create()["id"])
    kinds = [event["event"] for event in events]
    assert kinds == ["queued", "started", *["progress"] * STEPS, "completed"]
    steps = [event["data"] for event in events if event["event"] == "progress"]
    assert [(data["step"], data["total"]) for data in steps] == [(n + 1, STEPS) for n in range(4)]
    assert steps[0]["progress"] == 25
    assert {"seconds", "eta"} <= set(steps[0])


def test_a_stream_goes_on_where_it_broke_off(api: Api) -> None:
    video_id = api.create()["id"]
    events = events_of(api, video_id)
    assert events_of(api, video_id, events[2]["id"]) == events[3:]
    done = api.http.get(f"/videos/{video_id}/events", headers={"last-event-id": events[-1]["id"]})
    assert (done.status_code, done.content) == (204, b"")


def test_an_end_that_nobody_saw_is_told_when_its_events_are_gone(
    api: Api, storage: StorageSettings
) -> None:
    """They go an hour after the end, at once where the server's clock jumps: a client that comes
    back with the id of a step has not seen the end."""
    video_id = api.create()["id"]
    events = events_of(api, video_id)
    with redis.Redis.from_url(storage.redis_url) as client:
        client.delete(f"{storage.redis_prefix}:events:{video_id}")
    (end,) = events_of(api, video_id, events[2]["id"])
    assert end == events[-1]
    done = api.http.get(f"/videos/{video_id}/events", headers={"last-event-id": end["id"]})
    assert done.status_code == 204


def test_events_come_as_they_happen(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(worker=False)
    worker = Worker(own_storage)
    worker.start()
    video_id = api.create("[hold] [preview]")["id"]
    with api.http.stream("GET", f"/videos/{video_id}/events") as response:
        events = parse(response.iter_lines())
        while next(events)["event"] != "progress":
            pass
        assert api.get(video_id)["status"] == "in_progress"
        worker.release()
        rest = [event["event"] for event in events]
    worker.stop()
    assert rest[-2:] == ["preview", "completed"]


def test_an_idle_stream_is_kept_alive_and_ends_with_its_job(serve: Serve) -> None:
    api = serve(sse_keep_alive_s=0.05)
    video_id = api.create("[hold]")["id"]
    with api.http.stream("GET", f"/videos/{video_id}/events") as response:
        lines = response.iter_lines()
        while next(lines) != ": still here":
            pass
        api.http.delete(f"/videos/{video_id}")
        list(lines)  # ends


def test_many_follow_one_job(api: Api) -> None:
    video_id = api.create("[hold]")["id"]
    seen: list[str] = []

    def read() -> None:
        with httpx.stream("GET", f"{api.url}/v1/videos/{video_id}/events", timeout=20) as response:
            seen.extend(e["event"] for e in parse(response.iter_lines()) if e["event"] == "failed")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    api.http.post(f"/videos/{video_id}/cancel")
    for thread in threads:
        thread.join(20)
    assert seen == ["failed"] * 8


def test_the_end_is_told_even_when_events_are_gone(api: Api, storage: StorageSettings) -> None:
    import redis

    video_id = api.finished()["id"]
    with redis.Redis.from_url(storage.redis_url) as client:
        client.delete(f"{storage.redis_prefix}:events:{video_id}")
    assert [event["event"] for event in events_of(api, video_id)] == ["completed"]


@pytest.mark.parametrize("last_id", ["x", "1-2-3", "9" * 30, "-1", "$", "+"])
def test_a_last_id_that_is_none(api: Api, last_id: str) -> None:
    video_id = api.finished()["id"]
    response = api.http.get(f"/videos/{video_id}/events", headers={"last-event-id": last_id})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Last-Event-ID")


def test_too_many_followers(serve: Serve) -> None:
    api = serve(max_followers=1)
    video_id = api.create("[hold]")["id"]
    with api.http.stream("GET", f"/videos/{video_id}/events") as response:
        lines = response.iter_lines()
        assert next(lines) == ": open"
        wait_for(lambda: len(api.state.streams) == 1, "the stream to follow")
        for path in (f"/videos/{video_id}?wait=1", f"/videos/{video_id}/events"):
            assert api.http.get(path).status_code == 429
        api.http.post(f"/videos/{video_id}/cancel")


def test_streams_and_long_polls_end_when_the_server_stops(
    storage: StorageSettings, worker: Worker
) -> None:
    answers: list[Any] = []
    with running(ServiceSettings(storage=storage, port=0)) as api:
        video_id = api.create("[hold]")["id"]
        url = f"{api.url}/v1/videos/{video_id}"

        def wait() -> None:
            answers.append(httpx.get(url, params={"wait": 30}, timeout=30).json()["status"])

        def stream() -> None:
            with httpx.stream("GET", f"{url}/events", timeout=30) as response:
                answers.append([e["event"] for e in parse(response.iter_lines())][-1])

        threads = [threading.Thread(target=wait), threading.Thread(target=stream)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(api.state.streams) == 2, "both to follow")
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == ["in_progress", "progress"]


def test_our_own_client_reads_them(api: Api) -> None:
    with Client(f"{api.url}/v1") as client:
        kinds = [kind for kind, _ in client.events(api.create()["id"])]
    assert (kinds[0], kinds[-1]) == ("queued", "completed")
