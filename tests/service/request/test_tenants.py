"""Projects never see each other's: every route that takes an id is tried with another project's.

The table of ids is checked against the OpenAPI file, so a new route cannot be forgotten.
"""

import re
from typing import Any

import pytest

from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key, wait_for
from tests.service.routes.test_attention import publish
from tests.service.routes.test_webhooks import ALLOWED, EVERY, Receiver
from tests.service.worker import film

OPEN = {"/v1/models/{model_id}", "/v1/videos/characters/{character_id}"}  # the same for everyone
UNFINISHED = "/v1/uploads/resumable/{id}"  # speaks a protocol of its own
BODIES: dict[str, dict[str, Any]] = {
    "/v1/videos/{video_id}/remix": {"prompt": "A red car."},
    "/v1/videos/{video_id}/edits": {"edits": [{"prompt": "A red car."}]},
    "/v1/webhook_endpoints/{endpoint_id}": {"name": "mine now"},
    "/v1/webhook_endpoints/{endpoint_id}/test": {"event_type": "video.failed"},
}
UNKNOWN = {
    "video_id": "video_ffffffffffffffffffffffffffff",
    "artifact_id": f"attn_{'f' * 64}_{'f' * 32}",
    "endpoint_id": "webhook_ffffffffffffffffffffffff",
    "delivery_id": "evt_f_webhook_f",
    "analysis_id": "analysis_ffffffffffffffffffffffffffff",
    "upload_id": f"upload_{'f' * 40}",
    "name": "maps",
}


class Tenants:
    """Alice, who has one of everything, and Bob, who has nothing."""

    def __init__(self, serve: Serve, storage: StorageSettings, receiver: Receiver) -> None:
        alice, bob = make_key(storage, "alice"), make_key(storage, "bob")
        self.server = serve(auth="keys", **ALLOWED)
        self.alice, self.bob = self.server.of(alice), self.server.of(bob)
        endpoint = self.alice.http.post(
            "/webhook_endpoints", json={"name": "a", "url": receiver.url, "event_types": EVERY}
        ).json()
        self.video = self.alice.finished("A car.", seed=7)
        artifact = publish(storage, self.video["source_key"], self.video["id"], project="alice")
        delivery = wait_for(self._delivery, "the webhook")
        asked = {"kind": "structure", "sources": [{"id": self.video["id"]}]}
        analysis = self.alice.http.post("/attention/analyses", json=asked).json()["id"]
        self.alice.http.get(f"/attention/analyses/{analysis}", params={"wait": 10})
        upload = self.alice.http.post(
            "/uploads", content=film(), headers={"content-type": "video/mp4"}
        ).json()["id"]
        self.ids = {
            "upload_id": upload,
            "analysis_id": analysis,
            "name": "maps",
            "video_id": self.video["id"],
            "artifact_id": artifact,
            "endpoint_id": endpoint["id"],
            "delivery_id": delivery["id"],
        }

    def _delivery(self) -> Any:
        data = self.alice.http.get("/webhook_deliveries").json()["data"]
        return data[0] if data and data[0]["status"] == "delivered" else None

    def routes(self) -> list[tuple[str, str]]:
        """Every method and path that takes an id."""
        paths = self.server.http.get(f"{self.server.url}/openapi.json").json()["paths"]
        return [
            (method.upper(), path)
            for path, methods in paths.items()
            for method in methods
            if "{" in path and path not in OPEN and path != UNFINISHED
        ]


@pytest.fixture
def tenants(serve: Serve, own_storage: StorageSettings) -> Any:
    receiver = Receiver()
    yield Tenants(serve, own_storage, receiver)
    receiver.stop()


def ask(api: Api, method: str, path: str, ids: dict[str, str]) -> tuple[int, str]:
    """Status, and the answer without the id that was asked for."""
    url = re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], path)
    body = BODIES.get(path)
    response = api.http.request(method, api.url + url, json=body if method == "POST" else None)
    text = response.text
    for id in sorted(ids.values(), key=len, reverse=True):  # one is part of another
        text = text.replace(id, "ID")
    return response.status_code, text


def test_anothers_ids_are_like_ids_that_never_were(tenants: Tenants) -> None:
    routes = tenants.routes()
    assert len(routes) >= 16
    for method, path in routes:
        anothers = ask(tenants.bob, method, path, tenants.ids)
        assert anothers[0] == 404, (method, path, anothers)
        assert anothers == ask(tenants.bob, method, path, UNKNOWN), (method, path)
    # nothing of Alice's was changed on the way: what Bob was refused, she can do
    for method, path in sorted(routes, key=lambda route: (route[0] == "DELETE", route)):
        if not path.endswith("/events"):
            status, text = ask(tenants.alice, method, path, tenants.ids)
            hers = status == 200 or "was made without a region" in text
            assert hers, (method, path, text)


def test_an_unfinished_upload_is_its_projects(tenants: Tenants) -> None:
    tus = {"tus-resumable": "1.0.0", "upload-offset": "0"}
    begun = tenants.alice.http.post(
        f"{tenants.server.url}/v1/uploads/resumable", headers={**tus, "upload-length": "9"}
    )
    where = tenants.server.url + begun.headers["location"]
    tus["content-type"] = "application/offset+octet-stream"
    for method in ("HEAD", "PATCH", "DELETE"):
        assert tenants.bob.http.request(method, where, headers=tus).status_code == 404, method
    kept = tenants.alice.http.head(where, headers=tus)
    assert (kept.status_code, kept.headers["upload-offset"]) == (200, "0")


def test_lists_show_ones_own(tenants: Tenants) -> None:
    paths = {
        "/videos": "video_id",
        "/attention/artifacts": "artifact_id",
        "/attention/analyses": "analysis_id",
        "/webhook_endpoints": "endpoint_id",
        "/webhook_deliveries": "delivery_id",
    }
    for path, param in paths.items():
        assert tenants.alice.http.get(path).json()["data"], path
        page = tenants.bob.http.get(path).json()
        assert (page["data"], page["first_id"], page["has_more"]) == ([], None, False), path
        behind = tenants.bob.http.get(path, params={"after": tenants.ids[param]})
        assert behind.status_code == 404, path


def test_ids_in_bodies_are_refused_too(tenants: Tenants) -> None:
    video = {"video": {"id": tenants.ids["video_id"]}}
    for path, body in (
        ("/videos/edits", {"prompt": "A red car.", **video}),
        ("/attention/estimate", video),
    ):
        response = tenants.bob.http.post(path, json=body)
        assert (response.status_code, response.json()["error"]["param"]) == (404, "video_id")
    asked = {"kind": "structure", "sources": [{"id": tenants.ids["video_id"]}]}
    for path in ("/attention/analyses", "/attention/analyses/estimate"):
        response = tenants.bob.http.post(path, json=asked)
        assert (response.status_code, response.json()["error"]["param"]) == (404, "sources.0")


def test_anothers_webhook_url_is_not_ones_own(tenants: Tenants) -> None:
    url = tenants.alice.http.get("/webhook_endpoints").json()["data"][0]["url"]
    body = {"prompt": "A car.", "webhook_url": url}
    assert tenants.bob.http.post("/videos", json=body).status_code == 400


def test_the_same_request_has_another_key_and_another_job(tenants: Tenants) -> None:
    """So neither the time nor the cost of an edit tells what another project has made."""
    headers = {"idempotency-key": "same"}
    body = {"prompt": "A car.", "seed": 7}
    hers = tenants.alice.http.post("/videos", json=body, headers=headers).json()
    his = tenants.bob.http.post("/videos", json=body, headers=headers).json()
    assert hers["id"] != his["id"]
    assert hers["source_key"] == tenants.video["source_key"] != his["source_key"]
