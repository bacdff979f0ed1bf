"""Webhooks from job to receiver: signed, retried, given up, sent again; managed by the real SDK."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from openai.lib._webhooks import webhook_signature_matches
from standardwebhooks.webhooks import Webhook

from tests.service.conftest import Api, Serve, make_key, wait_for

ALLOWED = {"webhook_allow": ("127.0.0.1/32",), "webhook_backoff_s": (0.0, 0.0)}
EVERY = ["video.completed", "video.failed"]


class Receiver:
    """A customer's endpoint: answers with ``statuses``, then 200; keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.location = ""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append((dict(self.headers.items()), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def hooked(serve: Serve) -> Api:
    return serve(**ALLOWED)


@pytest.fixture
def sdk(hooked: Api) -> Iterator[openai.OpenAI]:
    with hooked.sdk() as client:
        yield client


def register(api: Api, receiver: Receiver, *events: str) -> dict[str, Any]:
    body = {"name": "test", "url": receiver.url, "event_types": list(events) or EVERY}
    response = api.http.post("/webhook_endpoints", json=body)
    assert response.status_code == 200, response.text
    endpoint: dict[str, Any] = response.json()
    return endpoint


def delivery(api: Api, status: str) -> dict[str, Any]:
    def find() -> Any:
        data = api.http.get("/webhook_deliveries", params={"status": status}).json()["data"]
        return data[0] if data else None

    found: dict[str, Any] = wait_for(find, f"a delivery that is {status}")
    return found


def test_the_sdk_manages_endpoints(sdk: openai.OpenAI, receiver: Receiver) -> None:
    made = sdk.webhooks.create(name="a", url=receiver.url, event_types=["video.completed"])
    assert made.signing_secret.startswith("whsec_")
    found = sdk.webhooks.retrieve(made.id)
    assert (found.name, found.event_types) == ("a", ["video.completed"])
    assert made.signing_secret not in found.model_dump_json()
    assert found.signing_secret_hint == f"whsec_…{made.signing_secret[-4:]}"
    other = sdk.webhooks.create(name="b", url=receiver.url, event_types=["video.failed"])
    assert [endpoint.id for endpoint in sdk.webhooks.list(limit=1)] == [other.id, made.id]
    assert sdk.webhooks.update(made.id, name="c").name == "c"
    assert sdk.webhooks.update(made.id, event_types=["video.failed"]).name == "c"
    result = sdk.webhooks.test(made.id, event_type="video.completed")
    assert (result.status_code, result.success) == (200, True)
    assert json.loads(receiver.requests[0][1])["type"] == "video.completed"
    types = list(sdk.webhooks.event_types.list().data)
    assert types == [*EVERY, "analysis.completed", "analysis.failed"]
    assert sdk.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_the_end_of_a_video_is_told_and_its_signature_holds(
    hooked: Api, receiver: Receiver
) -> None:
    secret = register(hooked, receiver)["signing_secret"]
    video = hooked.finished()
    wait_for(lambda: receiver.requests, "the webhook")
    headers, body = receiver.requests[0]
    event = Webhook(secret).verify(body, headers)
    assert event["type"] == "video.completed"
    assert event["data"] == {"id": video["id"]}
    assert headers["webhook-id"] == event["id"]
    assert webhook_signature_matches(body, headers, secret=secret, tolerance=300)
    assert not webhook_signature_matches(body + b" ", headers, secret=secret, tolerance=300)
    failed = hooked.finished("[fail]")
    wait_for(lambda: len(receiver.requests) == 2, "the second webhook")
    told = json.loads(receiver.requests[1][1])
    assert (told["type"], told["data"]["id"]) == ("video.failed", failed["id"])
    assert delivery(hooked, "delivered")["attempts"] == 1


def test_only_what_an_endpoint_asked_for(hooked: Api, receiver: Receiver) -> None:
    register(hooked, receiver, "video.failed")
    hooked.finished()
    failed = hooked.finished("[fail]")
    wait_for(lambda: receiver.requests, "the webhook")
    assert json.loads(receiver.requests[0][1])["data"]["id"] == failed["id"]


def test_a_job_may_choose_its_endpoint(hooked: Api, receiver: Receiver) -> None:
    chosen = Receiver()
    register(hooked, receiver)
    register(hooked, chosen)
    video = hooked.finished(webhook_url=chosen.url)
    wait_for(lambda: chosen.requests, "the webhook")
    assert json.loads(chosen.requests[0][1])["data"]["id"] == video["id"]
    assert receiver.requests == []
    chosen.stop()
    refused = hooked.http.post(
        "/videos", json={"prompt": "A car.", "webhook_url": "https://example.com/elsewhere"}
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "webhook_url")


def test_failed_attempts_are_tried_again(hooked: Api, receiver: Receiver) -> None:
    register(hooked, receiver)
    receiver.statuses = [500, 429]
    hooked.finished()
    done = delivery(hooked, "delivered")
    assert (done["attempts"], done["last_status_code"], done["last_error"]) == (3, 200, None)
    ids = {headers["webhook-id"] for headers, _ in receiver.requests}
    assert ids == {done["event_id"]}


def test_dead_letters_can_be_delivered_again(hooked: Api, receiver: Receiver) -> None:
    register(hooked, receiver)
    receiver.statuses = [500, 500, 500]
    video = hooked.finished()
    dead = delivery(hooked, "failed")
    assert (dead["attempts"], dead["last_status_code"], dead["video_id"]) == (3, 500, video["id"])
    assert dead["next_attempt_at"] is None
    again = hooked.http.post(f"/webhook_deliveries/{dead['id']}/redeliver")
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    assert delivery(hooked, "delivered")["id"] == dead["id"]
    assert len(receiver.requests) == 4


def test_gone_is_gone(hooked: Api, receiver: Receiver) -> None:
    register(hooked, receiver)
    receiver.statuses = [410]
    hooked.finished()
    assert delivery(hooked, "failed")["attempts"] == 1


def test_redirects_are_not_followed(hooked: Api, receiver: Receiver) -> None:
    inner = Receiver()
    register(hooked, receiver)
    receiver.location, receiver.statuses = inner.url, [302, 307, 308]
    hooked.finished()
    assert "redirects are not followed" in delivery(hooked, "failed")["last_error"]
    assert inner.requests == []
    inner.stop()


def test_nobody_there(hooked: Api) -> None:
    gone = Receiver()
    gone.stop()
    endpoint = register(hooked, gone)
    hooked.finished()
    dead = delivery(hooked, "failed")
    assert (dead["last_status_code"], dead["last_error"]) == (
        None, "no connection, or it broke off",
    )  # fmt: skip
    test = hooked.http.post(
        f"/webhook_endpoints/{endpoint['id']}/test", json={"event_type": "video.failed"}
    )
    assert (test.status_code, test.json()["error"]["code"]) == (400, "webhook_unreachable")


def test_private_targets_are_refused(api: Api, receiver: Receiver) -> None:
    body = {"name": "x", "url": receiver.url, "event_types": EVERY}
    response = api.http.post("/webhook_endpoints", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "url")


def test_a_name_that_turns_private_is_refused_when_called(serve: Serve) -> None:
    """Registered while allowed, called by a server that no longer allows it."""
    listener = Receiver()
    lenient = serve(**ALLOWED)
    register(lenient, listener)
    strict = serve(worker=False, webhook_backoff_s=())
    endpoint = strict.http.get("/webhook_endpoints").json()["data"][0]["id"]
    response = strict.http.post(
        f"/webhook_endpoints/{endpoint}/test", json={"event_type": "video.failed"}
    )
    assert response.json()["error"]["code"] == "webhook_unreachable"
    assert listener.requests == []
    listener.stop()


@pytest.mark.parametrize("keep_old", [True, False])
def test_secrets_rotate(hooked: Api, receiver: Receiver, keep_old: bool) -> None:
    endpoint = register(hooked, receiver)
    rotated = hooked.http.post(
        f"/webhook_endpoints/{endpoint['id']}/rotate_secret",
        json={"keep_old_secret_active_for_24_hours": keep_old},
    ).json()
    assert rotated["signing_secret"] != endpoint["signing_secret"]
    hooked.finished()
    wait_for(lambda: receiver.requests, "the webhook")
    headers, body = receiver.requests[0]
    assert Webhook(rotated["signing_secret"]).verify(body, headers)
    old = webhook_signature_matches(body, headers, secret=endpoint["signing_secret"], tolerance=300)
    assert old is keep_old


def test_a_rotation_needs_no_body(hooked: Api, receiver: Receiver) -> None:
    endpoint = register(hooked, receiver)
    path = f"/webhook_endpoints/{endpoint['id']}/rotate_secret"
    assert hooked.http.post(path).status_code == 200


def test_the_next_server_takes_over(serve: Serve, receiver: Receiver) -> None:
    """A webhook due when one server stopped is sent by another."""
    first = serve(**ALLOWED)
    register(first, receiver)
    second = serve(worker=False, **ALLOWED)
    for _ in range(6):
        second.create()
    wait_for(lambda: len(receiver.requests) == 6, "all of them")
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 6


def test_the_scope(serve: Serve, own_storage: Any) -> None:
    reader = make_key(own_storage, "alice", "read", "write")
    api = serve(auth="keys", worker=False).of(reader)
    assert api.http.get("/webhook_endpoints").status_code == 403


def test_there_is_a_limit(hooked: Api, receiver: Receiver) -> None:
    for _ in range(20):
        register(hooked, receiver)
    body = {"name": "x", "url": receiver.url, "event_types": EVERY}
    response = hooked.http.post("/webhook_endpoints", json=body)
    assert response.status_code == 400
    assert "20 webhook endpoints" in response.json()["error"]["message"]
