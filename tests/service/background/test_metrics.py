"""Metrics in Prometheus' format, labelled by what has an end, and for those who may see them."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.settings import StorageSettings
from tests.service.conftest import Api, Serve, make_key, wait_for
from tests.service.worker import Worker


def samples(api: Api) -> dict[str, float]:
    """Every sample by its name and labels."""
    response = api.http.get(f"{api.url}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "le")
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_jobs_and_edits_are_counted(serve: Serve, worker: Worker) -> None:
    api = serve()
    source = api.finished()
    api.finished("[fail]")
    edit = api.http.post(f"/videos/{source['id']}/remix", json={"prompt": "A red car."}).json()
    api.get(edit["id"], wait=10)
    analysis = {"kind": "structure", "sources": [{"id": source["id"]}]}
    made = api.http.post("/attention/analyses", json=analysis).json()
    made = api.http.get(f"/attention/analyses/{made['id']}", params={"wait": 10}).json()
    ended = "retake_jobs_ended_total{kind=%s,outcome=%s}"
    found = wait_for(
        lambda: (s := samples(api)).get(ended % ("analysis_structure", "completed")) and s,
        "the analysis to count",
    )
    assert found[ended % ("generation", "completed")] == 1
    assert found[ended % ("generation", "generation_failed")] == 1
    assert found["retake_edit_attention_total{attention=replayed}"] == 1
    assert found[ended % ("edit", "completed")] == 1
    assert found["retake_job_wait_seconds_count{priority=normal}"] == 4
    assert found["retake_job_duration_seconds_count{kind=generation,model=scenes}"] == 2
    assert found["retake_step_duration_seconds_count{kind=edit,model=scenes}"] == 1
    assert found["retake_stored_bytes{kind=video}"] == 2 * len(worker.video)
    assert found["retake_stored_bytes{kind=analysis}"] == made["size_bytes"] > 0


def test_queue_depth_by_priority(idle: Api) -> None:
    for priority in ("low", "low", "high"):
        idle.create(priority=priority)
    found = samples(idle)
    depths = [found[f"retake_queue_depth{{priority={p}}}"] for p in ("low", "normal", "high")]
    assert depths == [2, 0, 1]
    assert found["retake_jobs_running{}"] == 0


def test_routes_are_labelled_by_their_pattern(serve: Serve) -> None:
    api = serve(worker=False)
    for path in ("/videos/video_00000000", "/videos/video_11111111", "/models", "/no/such"):
        api.http.get(path)
    families = text_string_to_metric_families(api.http.get(f"{api.url}/metrics").text)
    routes = {s.labels["route"] for f in families for s in f.samples if "route" in s.labels}
    assert routes == {"/v1/videos/{video_id}", "/v1/models", "unmatched"}


def test_nobody_without_the_scope_sees_them(serve: Serve, own_storage: StorageSettings) -> None:
    """They speak of every project's jobs."""
    alice = make_key(own_storage, "alice")
    monitor = make_key(own_storage, "ops", "metrics")
    api = serve(auth="keys", worker=False)
    assert httpx.get(f"{api.url}/metrics").status_code == 401
    assert api.of(alice).http.get(f"{api.url}/metrics").status_code == 403
    assert samples(api.of(monitor))


@pytest.mark.parametrize("name", ["alice", "video_"])
def test_no_label_names_a_project_or_a_video(
    serve: Serve, own_storage: StorageSettings, name: str
) -> None:
    alice = make_key(own_storage, "alice")
    monitor = make_key(own_storage, "ops", "metrics")
    api = serve(auth="keys")
    api.of(alice).finished()
    text = api.of(monitor).http.get(f"{api.url}/metrics").text
    assert name not in text.replace("video_id", "")
