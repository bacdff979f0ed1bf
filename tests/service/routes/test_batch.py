"""Many edits of one source, and the chain that an edit of an edit leaves."""

from schemas.jobs import JobSpec
from tests.service.conftest import Api


def test_every_edit_of_a_batch_is_queued_with_its_own_options(api: Api) -> None:
    source = api.finished(seed=5)
    body = {
        "priority": "low",
        "capture": False,
        "edits": [
            {"prompt": "A red car."},
            {"prompt": "A truck.", "priority": "high", "transfer": {"layers": [3]}},
        ],
    }
    response = api.http.post(f"/videos/{source['id']}/edits", json=body)
    assert response.status_code == 200, response.text
    page = response.json()
    red, truck = page["data"]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (red["id"], truck["id"], False)
    assert [red["prompt"], truck["prompt"]] == ["A red car.", "A truck."]
    assert {red["remixed_from_video_id"], truck["remixed_from_video_id"]} == {source["id"]}
    assert truck["transfer"]["layers"] == [3]
    specs = [parts_job(api, video["id"]) for video in (red, truck)]
    assert [spec.priority for spec in specs] == ["low", "high"]
    assert [spec.capture for spec in specs] == [None, None]
    assert len({spec.batch_id for spec in specs}) == 1


def parts_job(api: Api, video_id: str) -> JobSpec:
    """The record that workers read."""
    import redis

    storage = api.settings.storage
    with redis.Redis.from_url(storage.redis_url) as client:
        record = client.hget(f"{storage.redis_prefix}:job:{video_id}", "spec")
    return JobSpec.model_validate_json(record)


def test_one_bad_edit_and_none_is_queued(api: Api) -> None:
    source = api.finished()
    edits = [{"prompt": "A red car."}, {"prompt": "A truck.", "transfer": {"layers": [99]}}]
    response = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "edits.1.transfer.layers")
    assert error["message"].startswith("edits.1.transfer.layers: ")
    assert api.http.get("/videos", params={"limit": 1}).json()["first_id"] == source["id"]


def test_an_edit_has_a_pace_of_its_own(api: Api) -> None:
    source = api.finished(fps=8)
    edits = [{"prompt": "A red car.", "fps": 12}, {"prompt": "A truck."}]
    page = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits}).json()
    assert [video["fps"] for video in page["data"]] == [12, 8]
    body = {"prompt": "A van.", "fps": 16}
    remix = api.http.post(f"/videos/{source['id']}/remix", json=body).json()
    assert (remix["fps"], remix["num_frames"]) == (16, source["num_frames"])


def test_a_batch_is_idempotent(api: Api) -> None:
    source = api.finished()
    body = {"edits": [{"prompt": "A red car."}, {"prompt": "A truck."}]}
    headers = {"idempotency-key": "batch"}
    pages = [
        api.http.post(f"/videos/{source['id']}/edits", json=body, headers=headers).json()
        for _ in range(2)
    ]
    assert [video["id"] for video in pages[0]["data"]] == [v["id"] for v in pages[1]["data"]]


def test_limits_of_a_batch(api: Api) -> None:
    source = api.finished()
    for edits in ([], [{"prompt": "A red car."}] * 65):
        response = api.http.post(f"/videos/{source['id']}/edits", json={"edits": edits})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "edits")


def test_lineage_names_every_source(api: Api) -> None:
    first = api.finished("A car.", seed=9)
    second = api.http.post(f"/videos/{first['id']}/remix", json={"prompt": "A red car."}).json()
    api.get(second["id"], wait=10)
    third = api.http.post(f"/videos/{second['id']}/remix", json={"prompt": "A red van."}).json()
    links = api.http.get(f"/videos/{third['id']}/lineage").json()["data"]
    assert [link["video_id"] for link in links] == [third["id"], second["id"], first["id"]]
    assert [link["prompt"] for link in links] == ["A red van.", "A red car.", "A car."]
    assert [link["source_key"] for link in links] == [
        third["source_key"], second["source_key"], first["source_key"],
    ]  # fmt: skip
    assert links[2]["transfer"] is None
    api.http.delete(f"/videos/{second['id']}")
    after = api.http.get(f"/videos/{third['id']}/lineage").json()["data"]
    assert [(link["video_id"], link["exists"]) for link in after] == [
        (third["id"], True), (second["id"], False), (None, False),
    ]  # fmt: skip
    assert [link["prompt"] for link in after] == ["A red van.", "A red car.", "A car."]
