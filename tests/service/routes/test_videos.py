"""Videos over plain HTTP: states, waiting, cancelling, deleting, listing."""

import httpx

from storage.connect import open_objects
from tests.service.conftest import Api, Serve, wait_for


def test_a_failed_video_is_answered_with_200(api: Api) -> None:
    video = api.finished("[fail]")
    assert video["error"] == {"code": "generation_failed", "message": "as asked"}
    assert video["completed_at"] is not None


def test_progress_is_seen_while_it_runs(api: Api) -> None:
    video_id = api.create("[hold]")["id"]
    video = wait_for(
        lambda: (v := api.get(video_id))["status"] == "in_progress" and v["progress"] and v,
        "the first step",
    )
    assert video["progress"] == 25
    cancelled = api.http.post(f"/videos/{video_id}/cancel")
    assert cancelled.status_code == 200
    ended = api.get(video_id, wait=10)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    again = api.http.post(f"/videos/{video_id}/cancel").json()
    assert again == ended


def test_a_queued_video_is_cancelled_at_once(idle: Api) -> None:
    video = idle.create()
    assert (video["status"], video["progress"]) == ("queued", 0)
    cancelled = idle.http.post(f"/videos/{video['id']}/cancel").json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")


def test_wait_gives_up_after_its_time(api: Api) -> None:
    video_id = api.create("[hold]")["id"]
    assert api.get(video_id, wait=0.2)["status"] in ("queued", "in_progress")
    api.http.delete(f"/videos/{video_id}")


def test_a_wait_above_the_limit_is_cut_and_said(serve: Serve) -> None:
    api = serve(max_wait_s=0.1)
    video_id = api.create("[hold]")["id"]
    answer = api.http.get(f"/videos/{video_id}", params={"wait": 100_000})
    assert answer.json()["status"] in ("queued", "in_progress")
    assert answer.headers["preference-applied"] == "wait=0.1"
    within = api.http.get(f"/videos/{video_id}", params={"wait": 0.05})
    assert "preference-applied" not in within.headers
    api.http.delete(f"/videos/{video_id}")


def test_a_list_of_some(serve: Serve) -> None:
    api = serve()
    failed, made = api.finished("[fail]"), api.finished()
    for query, found in (
        ({"status": "failed"}, [failed]),
        ({"status": "completed", "model": "scenes"}, [made]),
        ({"model": "scenes"}, [made, failed]),
        ({"model": "other"}, []),
        ({"status": "queued"}, []),
    ):
        page = api.http.get("/videos", params=query).json()
        assert [video["id"] for video in page["data"]] == [video["id"] for video in found]
        assert page["has_more"] is False
    assert api.http.get("/videos", params={"status": "done"}).status_code == 400


def test_health_by_every_name(serve: Serve) -> None:
    api, bare = serve(), serve(worker=False)
    wait_for(lambda: httpx.get(f"{api.url}/readyz").is_success, "the worker to be heard")
    for name in ("healthz", "readyz", "health"):
        for method in ("GET", "HEAD"):
            assert httpx.request(method, f"{api.url}/{name}").status_code == 200
    assert httpx.head(f"{bare.url}/healthz").content == b""


def test_delete_leaves_no_object(api: Api) -> None:
    video = api.finished()
    objects = open_objects(api.settings.storage)
    folder = f"videos/default/{video['id']}"
    assert len(list(objects.list(folder))) == 3
    assert api.http.delete(f"/videos/{video['id']}").json()["deleted"] is True
    assert list(objects.list(folder)) == []
    assert api.http.delete(f"/videos/{video['id']}").status_code == 404


def test_a_running_video_can_be_deleted(api: Api) -> None:
    video_id = api.create("[hold]")["id"]
    wait_for(lambda: api.get(video_id)["status"] == "in_progress", "it to run")
    assert api.http.delete(f"/videos/{video_id}").status_code == 200
    assert api.http.get(f"/videos/{video_id}").status_code == 404


def test_an_empty_list(serve: Serve) -> None:
    assert serve(worker=False).http.get("/videos").json() == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_without_any_worker_ever_the_answer_is_503(serve: Serve) -> None:
    api = serve(worker=False)
    response = api.http.post("/videos", json={"prompt": "A car."})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"]
    assert api.http.get(f"{api.url}/readyz").status_code == 503
    assert api.http.get(f"{api.url}/healthz").status_code == 200
    assert api.count() == 0


def test_a_job_that_nobody_takes_in_time_fails(idle: Api) -> None:
    video = idle.create(start_timeout_s=1)
    kept = idle.create(start_timeout_s=3600)
    video = idle.get(video["id"], wait=20)
    assert (video["status"], video["error"]["code"]) == ("failed", "start_timeout")
    assert idle.get(kept["id"])["status"] == "queued"
    response = idle.http.post("/videos", json={"prompt": "A car.", "start_timeout_s": 0})
    assert response.json()["error"]["param"] == "start_timeout_s"


def test_a_queued_video_says_how_many_are_before_it(idle: Api) -> None:
    ids = [idle.create()["id"] for _ in range(3)]
    assert idle.create()["queue_position"] == 4
    assert [idle.get(video_id)["queue_position"] for video_id in ids] == [1, 2, 3]
    page = idle.http.get("/videos", params={"order": "asc"}).json()["data"]
    assert [video["queue_position"] for video in page] == [1, 2, 3, 4]
    cancelled = idle.http.post(f"/videos/{ids[0]}/cancel").json()
    assert cancelled["queue_position"] is None
    assert idle.get(ids[2])["queue_position"] == 2


def test_expiry_is_the_servers_retention(api: Api) -> None:
    video = api.finished()
    assert video["expires_at"] == video["completed_at"] + api.settings.retention_s


def test_same_prompt_and_seed_have_one_source_key(api: Api) -> None:
    keys = {api.create(seed=7, fps=fps)["source_key"] for fps in (8, 9)}
    assert len(keys) == 1
    assert api.create(seed=8)["source_key"] not in keys
