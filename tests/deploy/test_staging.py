"""The staging stack, standing: replicas behind TLS, keys, stores that ask who it is, two nodes.

On the stack that `scripts/staging up` left, if there is one; else on one of its own, of which
nothing may be left afterwards.
"""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis

from deploy.staging.__main__ import FOLDER
from deploy.staging.parts import BIN, missing
from deploy.staging.processes import living, wait_until
from deploy.staging.stack import Stack
from deploy.staging.stage import API_REPLICAS, WORKER_NODES, Stage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

PATIENCE_S = 300.0
Video = dict[str, Any]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    standing = Stage.load(FOLDER)
    if standing is not None:
        yield Stack(standing)
        return
    assert not missing(), f"apt-get install {' '.join(sorted(set(missing().values())))}"
    stack = Stack(Stage.make(tmp_path_factory.mktemp("staging") / "stage"))
    try:
        stack.up()
        yield stack
    finally:
        pids = {part: stack.processes.pids(part) for part in stack.processes.parts()}
        killed = stack.down()
    assert killed == []
    assert not [part for part, its in pids.items() if living(its)]
    assert not stack.stage.ray_folder.exists()
    assert not [name for name, port in stack.stage.ports.items() if listens(port)]


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client(timeout=60) as client:
        yield client


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make(api: httpx.Client, **body: Any) -> Video:
    answer = api.post("/v1/videos", json={"prompt": "a car", "num_inference_steps": 3, **body})
    video: Video = answer.raise_for_status().json()
    return video


def follow(api: httpx.Client, video_id: str) -> Video:
    """The video once its job has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        video: Video = api.get(f"/v1/videos/{video_id}").raise_for_status().json()
        if video["status"] in ("completed", "failed"):
            return video
        time.sleep(0.5)
    raise AssertionError(f"{video_id} did not end within {PATIENCE_S:g} s")


def test_every_part_runs(stack: Stack) -> None:
    status = stack.status()
    assert all(status.values()), status
    assert len(stack.cluster.nodes()) == WORKER_NODES + 1
    assert stack.cluster.running() == WORKER_NODES


def test_tls_is_asked_for_and_ends_at_the_balancer(stack: Stack) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{stack.stage.url}/healthz")
    with stack.client() as client:
        answer = client.get("/healthz")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]


def test_requests_are_spread_over_the_replicas(stack: Stack, api: httpx.Client) -> None:
    def served() -> list[float]:
        name = "retake_http_request_duration_seconds_count"
        key = {"Authorization": f"Bearer {stack.stage.secrets['RETAKE_METRICS_KEY']}"}
        texts = [
            httpx.get(f"http://{stack.stage.address(f'api_{n}')}/metrics", headers=key).text
            for n in range(1, API_REPLICAS + 1)
        ]
        return [
            sum(float(line.split()[-1]) for line in text.splitlines() if models(line, name))
            for text in texts
        ]

    def models(line: str, name: str) -> bool:
        return line.startswith(name) and '"/v1/models"' in line

    before = served()
    for _ in range(20):
        api.get("/v1/models").raise_for_status()
    more = [now - then for now, then in zip(served(), before, strict=True)]
    assert sum(more) == 20
    assert min(more) >= 5


def test_keys_and_their_scopes_are_held(stack: Stack, api: httpx.Client) -> None:
    assert api.get("/v1/models", headers={"Authorization": ""}).status_code == 401
    assert api.get("/metrics").status_code == 403  # it speaks of every project
    with stack.client(stack.stage.secrets["RETAKE_METRICS_KEY"]) as prometheus:
        assert prometheus.get("/metrics").status_code == 200
        assert prometheus.get("/v1/models").status_code == 403
    command = [str(BIN / "retake"), "keys", "create", "--project", "demo", "--scope", "read"]
    environment = stack.parts.key("first-key").environment.copy()
    del environment["RETAKE_KEY_SECRET"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    with stack.client(made.stdout.strip()) as reader:
        assert reader.get("/v1/videos").status_code == 200
        assert reader.post("/v1/videos", json={"prompt": "a car"}).status_code == 403


def test_the_job_of_the_first_key_may_run_again(stack: Stack) -> None:
    part = stack.parts.key("first-key")
    done = subprocess.run(
        part.command, env=part.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("key_")  # its id: the secret is in no log
    assert stack.stage.key not in done.stdout + done.stderr


def test_a_video_is_made_edited_and_fetched_by_the_sdk(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.stage.ca))
    base_url = f"{stack.stage.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key=stack.stage.key) as sdk:
        video = sdk.videos.create_and_poll(
            prompt="a car", extra_body={"num_inference_steps": 3, "capture": True}
        )
        assert video.status == "completed"
        edit = sdk.videos.remix(video.id, prompt="a red car")
        edit = sdk.videos.poll(edit.id)
        assert edit.status == "completed"
        film = httpx.get(
            f"{base_url}/videos/{edit.id}/content",
            headers={"Authorization": f"Bearer {stack.stage.key}"},
            follow_redirects=True,
        )
    assert film.url.port == stack.stage.ports["s3"]  # a link of the store's own
    assert film.content[4:8] == b"ftyp"


def _valkey(stack: Stack) -> None:
    redis.Redis(port=stack.stage.ports["valkey"]).ping()


def _store(stack: Stack) -> None:
    httpx.get(f"http://{stack.stage.address('s3')}/retake").raise_for_status()


def _ray(stack: Stack) -> None:
    httpx.get(f"{stack.cluster.url}/api/v0/nodes").raise_for_status()


@pytest.mark.parametrize("ask", [_valkey, _store, _ray])
def test_the_stores_and_ray_ask_who_it_is(stack: Stack, ask: Callable[[Stack], None]) -> None:
    with pytest.raises((redis.AuthenticationError, httpx.HTTPStatusError)):
        ask(stack)


def test_the_password_is_on_no_command_line(stack: Stack) -> None:
    password = stack.stage.secrets["RETAKE_VALKEY_PASSWORD"].encode()
    for part in stack.processes.parts():
        for pid in stack.processes.pids(part):
            assert password not in Path(f"/proc/{pid}/cmdline").read_bytes(), part


def test_prometheus_scrapes_every_replica_and_node_and_has_the_rules(stack: Stack) -> None:
    url = f"http://{stack.stage.address('prometheus')}/api/v1"

    def ask(path: str, **params: str) -> Any:
        return httpx.get(f"{url}/{path}", params=params).json()["data"]

    def answered() -> list[str]:
        # at any time until now: one that is slow beside other work is not one that is not there
        once = ask("query", query="max_over_time(up[1h]) == 1")["result"]
        return sorted(series["metric"]["job"] for series in once)

    nodes, replicas = ["ray"] * (WORKER_NODES + 1), ["retake-api"] * API_REPLICAS
    expected = ["haproxy", *nodes, *replicas]
    targets = ask("targets")["activeTargets"]
    assert sorted(target["labels"]["job"] for target in targets) == expected
    assert wait_until(lambda: answered() == expected, 180), [
        (target["scrapeUrl"], target["lastError"]) for target in ask("targets")["activeTargets"]
    ]
    groups = httpx.get(f"{url}/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert not [rule for rule in rules if rule["health"] == "err"]


def test_a_nodes_own_health_needs_no_token_and_no_serve_proxy(stack: Stack) -> None:
    """What the chart's readiness probe of worker pods asks for, where KubeRay's would ask 8000."""
    files = list(stack.stage.targets.glob("*.json"))
    assert len(files) == WORKER_NODES + 1
    for file in files:
        (target,) = json.loads(file.read_text())
        agent = f"http://{target['labels']['agent']}"
        assert httpx.get(f"{agent}/api/healthz").status_code == 200
        assert httpx.get(f"{agent}/api/job_agent/jobs/none/logs").status_code == 401


def test_a_node_that_is_stopped_ends_its_job_first_and_another_joins(
    stack: Stack, api: httpx.Client
) -> None:
    ids = [make(api, seed=seed, num_inference_steps=12)["id"] for seed in range(4)]
    node = min(name for name in stack.cluster.nodes() if name.startswith("worker"))
    assert stack.stop_node(node), "it had to be killed"
    joined = stack.join_node()
    for video_id in ids:
        assert follow(api, video_id)["status"] == "completed"
        events = api.get(f"/v1/videos/{video_id}/events").text
        assert events.count("event: started") == 1  # no attempt was lost
        assert events.count("event: completed") == 1
    assert joined in stack.cluster.nodes()
    assert wait_until(lambda: stack.cluster.running() == WORKER_NODES, PATIENCE_S)
