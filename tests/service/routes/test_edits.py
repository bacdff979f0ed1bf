"""Edits: how a source is named, and what is refused about it."""

from typing import Any

import pytest

from tests.service.conftest import Api, wait_for

ABSENT = "video_00000000000000000000"


def edit(api: Api, **body: Any) -> Any:
    return api.http.post("/videos/edits", json={"prompt": "A red car.", **body})


def test_by_prompt_and_seed_no_video_need_exist(api: Api) -> None:
    source = {"prompt": "A car nobody made.", "seed": 11, "num_frames": 9}
    response = edit(api, source=source)
    assert response.status_code == 200, response.text
    video = response.json()
    assert (video["seed"], video["num_frames"]) == (11, 9)
    assert api.get(video["id"], wait=10)["attention"] == "replayed"


def test_by_id_and_by_prompt_name_the_same_source(api: Api) -> None:
    source = api.finished("A car.", seed=12, num_frames=9)
    by_id = edit(api, video={"id": source["id"]}).json()
    by_prompt = edit(api, source={"prompt": "A car.", "seed": 12, "num_frames": 9}).json()
    assert by_id["source_key"] == by_prompt["source_key"] != source["source_key"]
    assert (by_id["remixed_from_video_id"], by_prompt["remixed_from_video_id"]) == (
        source["id"], None,
    )  # fmt: skip


def test_an_edit_can_be_edited(api: Api) -> None:
    first = api.finished("A car.")
    second = edit(api, video={"id": first["id"]}).json()
    api.get(second["id"], wait=10)
    third = api.http.post(f"/videos/{second['id']}/remix", json={"prompt": "A red car in winter."})
    assert third.json()["remixed_from_video_id"] == second["id"]


def test_a_source_that_is_not_completed_is_refused(api: Api) -> None:
    running = api.create("[hold]")["id"]
    wait_for(lambda: api.get(running)["status"] == "in_progress", "it to run")
    before = api.count()
    for response in (
        edit(api, video={"id": running}),
        api.http.post(f"/videos/{running}/remix", json={"prompt": "A red car."}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (409, "source_not_ready")
        assert response.headers["x-should-retry"] == "false"
    assert api.count() == before
    api.http.delete(f"/videos/{running}")


@pytest.mark.parametrize(
    ("body", "param", "status"),
    [
        ({}, None, 400),
        ({"video": {"id": ABSENT}, "source": {"prompt": "A car.", "seed": 1}}, None, 400),
        ({"video": {"id": ABSENT}}, "video_id", 404),
        ({"video": {"id": "../../etc/passwd"}}, "video.id", 400),
        ({"video": ABSENT}, "video", 400),
        ({"source": {"prompt": "A car."}}, "source.seed", 400),
        ({"source": {"seed": 1}}, "source.prompt", 400),
        ({"source": {"prompt": "A car.", "seed": 1, "size": "9999x64"}}, "source.size", 400),
        ({"source": {"prompt": "A car.", "seed": 1}, "seed": 2}, "seed", 400),
        ({"source": {"prompt": "A car.", "seed": 1}, "model": "wan"}, "model", 400),
        (
            {"source": {"prompt": "A car.", "seed": 1}, "transfer": {"layers": [9]}},
            "transfer.layers",
            400,
        ),
        (
            {"source": {"prompt": "A car.", "seed": 1}, "transfer": {"layer": [9]}},
            "transfer.layer",
            400,
        ),
        (
            {"source": {"prompt": "A car.", "seed": 1}, "capture": {"steps": [4]}},
            "capture.steps",
            400,
        ),
    ],
)
def test_bad_edits_name_the_field_and_queue_nothing(
    api: Api, body: dict[str, Any], param: str | None, status: int
) -> None:
    before = api.http.get("/videos", params={"limit": 1}).json()["first_id"]
    response = edit(api, **body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), error
    assert api.http.get("/videos", params={"limit": 1}).json()["first_id"] == before
