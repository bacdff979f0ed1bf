"""Analyses over HTTP: queued, followed, listed, read, deleted, like videos and beside them."""

import io
import json
from functools import partial
from typing import Any

import httpx
from PIL import Image

from schemas.recipes import Recipe
from storage.connect import open_objects
from storage.limits import ProjectLimits
from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key, wait_for
from tests.service.jobs.test_limits import set_limits
from tests.service.routes.test_webhooks import ALLOWED, Receiver
from tests.service.worker import Worker, film

PATH = "/attention/analyses"
RUN = {"prompt": "A car.", "seed": 7}
EDIT = {"prompt": "A red car.", "source": RUN}


def post(api: Api, body: dict[str, Any], **options: Any) -> httpx.Response:
    return api.http.post(PATH, json={"kind": "structure", "sources": [RUN], **body}, **options)


def created(api: Api, **body: Any) -> dict[str, Any]:
    response = post(api, body)
    assert response.status_code == 200, response.text
    analysis: dict[str, Any] = response.json()
    return analysis


def finished(api: Api, **body: Any) -> dict[str, Any]:
    id = created(api, **body)["id"]
    analysis: dict[str, Any] = api.http.get(f"{PATH}/{id}", params={"wait": 20}).json()
    assert analysis["status"] in ("completed", "failed")
    return analysis


def ids(api: Api, **query: Any) -> list[str]:
    return [each["id"] for each in api.http.get(PATH, params=query).json()["data"]]


def test_it_is_shown_as_it_was_asked_for(api: Api) -> None:
    video = api.finished("A dog.", seed=3)
    analysis = created(
        api, kind="sinks", sources=[{"id": video["id"]}, RUN], layers=[1], ablations={"sinks": 2}
    )
    assert analysis["object"] == "attention.analysis"
    assert analysis["kind"] == "sinks"
    assert analysis["request"]["layers"] == [1]
    assert analysis["request"]["ablations"] == {"sinks": 2, "controls": 3}
    assert [each["video_id"] for each in analysis["sources"]] == [video["id"], None]
    runs = [each["recipe"]["generation"] for each in analysis["sources"]]
    assert [(run["prompt"], run["seed"]) for run in runs] == [("A dog.", 3), ("A car.", 7)]
    assert (analysis["size_bytes"], analysis["figures"]) == (None, [])


def test_its_files(api: Api) -> None:
    analysis = finished(api)
    assert (analysis["status"], analysis["progress"]) == ("completed", 100)
    assert analysis["figures"] == ["maps"]
    assert analysis["sources"][0]["stored"] is True
    path = f"{PATH}/{analysis['id']}"
    result = api.http.get(f"{path}/result")
    assert result.headers["content-type"] == "application/json"
    assert result.json() == {"of": analysis["id"]}
    figure = api.http.get(f"{path}/figures/maps.png")
    assert figure.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(figure.content)).size == (8, 8)
    report = api.http.get(f"{path}/report")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    assert report.text == f"<p>{analysis['id']}</p>"
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    sizes = [len(each.content) for each in (result, figure, report)]
    assert analysis["size_bytes"] == sum(sizes)
    again = api.http.get(f"{path}/result", headers={"if-none-match": result.headers["etag"]})
    assert again.status_code == 304
    other = api.http.get(f"{path}/figures/decay.png")
    assert (other.status_code, other.json()["error"]["param"]) == (404, "name")
    assert "there are maps" in other.json()["error"]["message"]


def test_what_is_not_completed_has_no_result(idle: Api) -> None:
    analysis = created(idle)
    assert analysis["status"] == "queued"
    for name in ("result", "report", "figures/maps.png"):
        response = idle.http.get(f"{PATH}/{analysis['id']}/{name}")
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "analysis_not_ready"
    queued = idle.http.get(f"{PATH}/{analysis['id']}")
    assert queued.headers["openai-poll-after-ms"]


def test_analyses_and_videos_are_lists_of_their_own(serve: Serve) -> None:
    api = serve()
    video = api.finished()
    first = finished(api)
    held = created(api, kind="sinks", sources=[{**RUN, "prompt": "[hold]"}])
    last = finished(api, kind="sparsity")
    assert [each["id"] for each in api.http.get("/videos").json()["data"]] == [video["id"]]
    every = [first["id"], held["id"], last["id"]]
    assert ids(api, order="asc") == every
    assert ids(api) == every[::-1]
    assert ids(api, kind="sinks") == [held["id"]]
    assert ids(api, status="completed", order="asc") == [first["id"], last["id"]]
    assert ids(api, status="completed", order="asc", limit=1) == [first["id"]]
    page = api.http.get(PATH, params={"status": "completed", "order": "asc", "limit": 1}).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (first["id"], first["id"], True)
    page = api.http.get(PATH, params={"order": "asc", "after": held["id"]}).json()
    assert (page["first_id"], page["has_more"]) == (last["id"], False)
    assert api.http.get(PATH, params={"after": video["id"]}).status_code == 404
    api.http.post(f"{PATH}/{held['id']}/cancel")


def test_no_route_of_videos_knows_it(api: Api) -> None:
    id = created(api)["id"]
    for path in (f"/videos/{id}", f"/videos/{id}/content", f"/videos/{id}/events"):
        assert api.http.get(path).status_code == 404
    missing = api.http.get(f"{PATH}/analysis_00000000")
    assert missing.json()["error"]["message"] == "no analysis 'analysis_00000000'"


def test_it_is_cancelled_and_followed(api: Api) -> None:
    held = created(api, sources=[{**RUN, "prompt": "[hold]"}])
    path = f"{PATH}/{held['id']}"
    assert api.http.post(f"{path}/cancel").status_code == 200
    ended = api.http.get(path, params={"wait": 10}).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    text = api.http.get(f"{path}/events").text
    assert "event: failed" in text
    last = text.rpartition("id: ")[2].partition("\n")[0]
    assert api.http.get(f"{path}/events", headers={"last-event-id": last}).status_code == 204


def test_the_same_key_gives_the_same_analysis(idle: Api) -> None:
    headers = {"idempotency-key": "once"}
    first, again = (post(idle, {}, headers=headers).json()["id"] for _ in range(2))
    assert first == again
    assert ids(idle) == [first]
    other = post(idle, {"kind": "sinks"}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert idle.http.post("/videos", json=RUN, headers=headers).status_code == 422


def test_deleting_takes_its_files(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve()
    analysis = finished(api)
    objects = open_objects(own_storage)
    assert len(list(objects.list("analyses"))) == 3
    path = f"{PATH}/{analysis['id']}"
    deleted = api.http.delete(path).json()
    assert deleted == {
        "id": analysis["id"], "deleted": True, "object": "attention.analysis.deleted",
    }  # fmt: skip
    assert list(objects.list("analyses")) == []
    assert ids(api) == []
    for response in (api.http.get(path), api.http.get(f"{path}/result"), api.http.delete(path)):
        assert response.status_code == 404
    assert api.http.get(PATH, params={"after": analysis["id"]}).status_code == 200


def test_it_expires_with_its_files(serve: Serve, own_storage: StorageSettings) -> None:
    api = serve(retention_s=1, sweep_s=0.1)
    analysis = finished(api)
    assert analysis["expires_at"] == analysis["completed_at"] + 1
    gone = f"{PATH}/{analysis['id']}"
    wait_for(lambda: api.http.get(gone).status_code == 404, "the analysis to expire")
    objects = open_objects(own_storage)
    wait_for(lambda: not list(objects.list("analyses")), "its files to go")


def has_heard(receiver: Receiver, analysis_id: str) -> bool:
    return analysis_id in str(receiver.requests)


def test_its_end_is_told(serve: Serve) -> None:
    receiver = Receiver()
    api = serve(**ALLOWED)
    types = ["analysis.completed", "analysis.failed"]
    endpoint = {"name": "a", "url": receiver.url, "event_types": types}
    assert api.http.post("/webhook_endpoints", json=endpoint).status_code == 200
    api.finished()  # of videos this endpoint hears nothing
    for prompt in ("A car.", "[fail]"):
        analysis = created(api, sources=[{**RUN, "prompt": prompt}], webhook_url=receiver.url)
        wait_for(partial(has_heard, receiver, analysis["id"]), "the event")
    bodies = [httpx.Response(200, content=body).json() for _, body in receiver.requests]
    assert [body["type"] for body in bodies] == types
    receiver.stop()
    unknown = post(api, {"webhook_url": "https://example.com/x"})
    assert unknown.json()["error"]["param"] == "webhook_url"


def test_an_estimate_queues_nothing(idle: Api) -> None:
    body = {"kind": "sparsity", "sources": [RUN], "causal": {"densities": [0.5]}}
    response = idle.http.post(f"{PATH}/estimate", json=body)
    assert response.status_code == 200
    found = response.json()
    # twice as it is, each of four layers, two sets of layers
    assert (found["maps"], found["videos"]) == (4 * 2 * 2 * 4, 2 + 4 + 2)
    assert found["cost"] > found["videos"]
    refused = idle.http.post(f"{PATH}/estimate", json={**body, "layers": [9]})
    assert refused.json()["error"]["param"] == "layers"
    assert ids(idle) == []


def test_limits_of_a_project(serve: Serve, own_storage: StorageSettings) -> None:
    alice = make_key(own_storage, "alice")
    set_limits(own_storage, "alice", ProjectLimits(max_analysis_cost=3, max_stored_bytes=100))
    api = serve(auth="keys", max_open_jobs=1).of(alice)
    dear = post(api, {"sources": [{**RUN, "seed": seed} for seed in range(4)]})
    assert (dear.status_code, dear.json()["error"]["param"]) == (400, "sources")
    assert "allowed for this project are 3" in dear.json()["error"]["message"]
    causal = post(api, {"kind": "sparsity", "causal": {}})
    assert (causal.status_code, causal.json()["error"]["param"]) == (400, "causal")
    held = created(api, sources=[{**RUN, "prompt": "[hold]"}])
    assert post(api, {}).json()["error"]["code"] == "too_many_jobs"
    api.http.post(f"{PATH}/{held['id']}/cancel")
    api.http.get(f"{PATH}/{held['id']}", params={"wait": 10})
    analysis = finished(api)
    full = post(api, {})
    assert (full.status_code, full.json()["error"]["code"]) == (429, "storage_quota_exceeded")
    api.http.delete(f"{PATH}/{analysis['id']}")
    assert finished(api)["status"] == "completed"
    assert len(ids(api)) == 2


def test_scopes_of_keys(serve: Serve, own_storage: StorageSettings) -> None:
    keys = make_key(own_storage, "alice"), make_key(own_storage, "alice", "read")
    server = serve(auth="keys")
    writer, reader = map(server.of, keys)
    id = finished(writer)["id"]
    assert reader.http.get(f"{PATH}/{id}/result").status_code == 200
    refused = [
        post(reader, {}),
        reader.http.post(f"{PATH}/{id}/cancel"),
        reader.http.delete(f"{PATH}/{id}"),
    ]
    assert [each.json()["error"]["code"] for each in refused] == ["insufficient_scope"] * 3
    assert server.http.get(PATH).status_code == 401


def test_pages_of_other_origins(serve: Serve) -> None:
    api = serve(cors_origins=("https://app.example.org",))
    response = api.http.get(PATH, headers={"origin": "https://app.example.org"})
    assert response.headers["access-control-allow-origin"] == "https://app.example.org"


def test_a_sweep_of_an_edit(api: Api, worker: Worker) -> None:
    swept = finished(api, kind="layer_sweep", sources=[{**EDIT, "transfer": {"anchor": None}}])
    recipe = swept["sources"][0]["recipe"]
    assert recipe["source"]["generation"]["prompt"] == "A car."
    assert (recipe["generation"]["seed"], recipe["transfer"]["anchor"]) == (7, None)
    edit = api.http.post("/videos/edits", json=EDIT).json()
    api.get(edit["id"], wait=20)
    assert finished(api, kind="layer_sweep", sources=[{"id": edit["id"]}])["status"] == "completed"


def test_an_uploaded_film_is_a_source(api: Api) -> None:
    upload = api.http.post("/uploads", content=film(24), headers={"content-type": "video/mp4"})
    of: dict[str, Any] = {"video": {"id": upload.json()["id"]}, "source_prompt": "A car."}
    found = finished(
        api,
        sources=[{**of, "num_frames": 9, "start_s": 1}, {**of, "prompt": "A red car."}],
    )
    assert found["status"] == "completed"
    alone, edit = (each["recipe"] for each in found["sources"])
    assert (alone["generation"]["prompt"], alone["generation"]["seed"]) == ("A car.", 0)
    assert (alone["generation"]["num_frames"], alone["film"]["start_s"]) == (9, 1)
    assert alone["film"]["sha256"] == edit["source"]["film"]["sha256"] == upload.json()["sha256"]
    assert edit["transfer"]["anchor"] is not None
    # what an edit of it names as its source is the same film
    video = api.http.post("/videos/edits", json={**of, "prompt": "A red car."}).json()
    assert video["source_key"] == Recipe.model_validate_json(json.dumps(edit)).key("default")
    refused: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
        ("sinks", {"ablations": {}}, of, "sources.0"),
        ("layer_sweep", {}, {**of, "prompt": "A red car."}, "sources.0"),
        ("structure", {"branches": ["uncond"]}, of, "branches"),
        ("structure", {}, {**of, "start_s": 9}, "sources.0.start_s"),
        ("structure", {}, {**of, "size": "7x7"}, "sources.0.size"),
    )
    for kind, more, source, param in refused:
        response = post(api, {"kind": kind, "sources": [source], **more})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    api.http.delete(f"/uploads/{upload.json()['id']}")
    gone = post(api, {"sources": [of]})
    assert (gone.status_code, gone.json()["error"]["param"]) == (404, "sources.0")
    assert "no upload" in gone.json()["error"]["message"]
