"""Idempotency-Key: one job however often it is asked for, and no other job under its name."""

import threading
from typing import Any

import pytest

from tests.service.conftest import Api

KEY = {"idempotency-key": "order 66"}


def post(api: Api, body: dict[str, Any], key: str, path: str = "/videos") -> Any:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    return api.http.post(path, json=body, headers=headers)


def test_the_same_request_is_one_job(api: Api) -> None:
    body = {"prompt": "A car."}  # its seed is chosen by the server, once
    first = post(api, body, "a").json()
    assert post(api, body, "a").json()["seed"] == first["seed"]
    done = api.get(first["id"], wait=10)
    assert post(api, body, "a").json() == done  # also after completion


def test_a_form_and_its_retry_are_the_same(api: Api) -> None:
    def send() -> str:
        files = {"prompt": (None, "A car."), "seed": (None, "7")}  # another boundary each time
        return str(api.http.post("/videos", files=files, headers=KEY).json()["id"])

    assert send() == send()


@pytest.mark.parametrize("other", [{"prompt": "A truck."}, {"prompt": "A car.", "seed": 1}])
def test_another_body_is_refused(api: Api, other: dict[str, Any]) -> None:
    first = post(api, {"prompt": "A car."}, f"b{len(other)}").json()
    response = post(api, other, f"b{len(other)}")
    assert (response.status_code, response.json()["error"]["code"]) == (
        422, "idempotency_key_reused",
    )  # fmt: skip
    assert api.http.get("/videos", params={"limit": 1}).json()["first_id"] == first["id"]


def test_the_path_is_part_of_the_request(api: Api) -> None:
    one, two = api.finished()["id"], api.finished()["id"]
    body = {"prompt": "A red car."}
    assert post(api, body, "c", f"/videos/{one}/remix").status_code == 200
    assert post(api, body, "c", f"/videos/{two}/remix").status_code == 422


def test_a_retry_is_answered_although_its_source_is_gone(api: Api) -> None:
    source = api.finished()["id"]
    body = {"prompt": "A red car."}
    made = post(api, body, "d", f"/videos/{source}/remix").json()["id"]
    api.http.delete(f"/videos/{source}")
    assert post(api, body, "d", f"/videos/{source}/remix").json()["id"] == made


def test_retries_at_the_same_time_make_one_job(api: Api) -> None:
    ids: set[str] = set()

    def send() -> None:
        ids.add(post(api, {"prompt": "A car."}, "e").json()["id"])

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1


def test_the_sdks_own_keys(api: Api) -> None:
    with api.sdk() as sdk:
        made = {
            sdk.videos.create(prompt="A car.", extra_headers={"Idempotency-Key": "f"}).id
            for _ in range(2)
        }
    assert len(made) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9"])
def test_a_key_that_is_none(api: Api, key: str) -> None:
    response = post(api, {"prompt": "A car."}, key)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Idempotency-Key")
