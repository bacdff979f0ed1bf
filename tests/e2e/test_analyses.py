"""Analyses by the whole product: the command, API, queue, Ray, the bundled model, and back."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.processes import WORKER, processes
from retake.client import ApiError, Client, Json
from retake.stack import Stack

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
PATH = "/attention/analyses"
CAR = "A car is driving on the highway."
RUN: Json = {"prompt": CAR, "seed": 3, "num_inference_steps": 4}
EDIT = {"prompt": "A truck is driving on the highway.", "source": RUN}
LONG = {**RUN, "num_inference_steps": 50}


def create(client: Client, kind: str, *sources: Json, **body: Any) -> str:
    asked = {"kind": kind, "sources": sources, **body}
    return str(client.request("POST", PATH, json=asked).json()["id"])


def get(client: Client, id: str) -> Json:
    analysis: Json = client.request("GET", f"{PATH}/{id}").json()
    return analysis


def ended(client: Client, id: str) -> Json:
    """The analysis once it has ended."""
    for _ in client.events_at(f"{PATH}/{id}"):
        pass
    return get(client, id)


def result(client: Client, id: str) -> Json:
    found: Json = client.request("GET", f"{PATH}/{id}/result").json()
    return found


def test_the_command_writes_a_folder(stack: Stack, tmp_path: Path) -> None:
    main = "from retake.cli import main; main()"  # the console script, wherever it is installed
    command = [
        sys.executable, "-c", main, "analyse", "structure", "--url", stack.base_url,
        "--prompt", CAR, "--prompt", "A dog is running on the grass.", "--seed", "3",
        "--layers", "1,6-7", "--steps", "3", "--settings", '{"num_inference_steps": 4}',
        "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report.html" in done.stdout.replace("\n", "")  # a long path is broken
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [source["prompt"] for source in found["sources"]] == [
        RUN["prompt"], "A dog is running on the grass.",
    ]  # fmt: skip
    source = found["sources"][0]
    assert (source["coordinates"]["layer"], source["coordinates"]["step"]) == ([1, 6, 7], [3])
    share = source["measures"]["structure"]["own_frame_share"]
    assert share["axes"] == ["branch", "step", "layer", "head"]
    assert share["definition"]
    assert all(0 < value < 1 for value in share["values"][0][0][0])
    assert found["comparisons"]
    for name in found["figures"]:
        Image.open(tmp_path / "out" / "figures" / f"{name}.png").verify()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(found["figures"])
    estimate = subprocess.run(
        [*command, "--estimate"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "cost" in estimate.stdout


def test_from_stored_attention_the_same_numbers(client: Client) -> None:
    asked = {"capture": {"form": "hidden", "scope": "everything"}}
    video = client.create(**RUN, **asked)
    for _ in client.events(video["id"]):
        pass
    choices: Json = {"steps": [3], "sampling": {"rows": None}}
    stored = ended(client, create(client, "sparsity", {"id": video["id"]}, **choices))
    assert stored["status"] == "completed", stored["error"]
    assert stored["sources"][0]["stored"] is True
    assert stored["total_steps"] == 1
    client.delete(video["id"])
    again = ended(client, create(client, "sparsity", RUN, **choices))
    assert (again["sources"][0]["stored"], again["total_steps"]) == (False, 4)
    one, other = (
        result(client, each["id"])["sources"][0]["measures"]["sparsity"]["retained_mass"]["values"]
        for each in (stored, again)
    )
    flat = [(a, b) for a, b in zip(_flat(one), _flat(other), strict=True)]
    assert max(abs(a - b) for a, b in flat) < 1e-3


def _flat(values: Any) -> list[float]:
    if isinstance(values, list):
        return [number for each in values for number in _flat(each)]
    return [float(values)]


def test_a_cancelled_sweep_stops(client: Client, stack: Stack) -> None:
    edit = {**EDIT, "source": LONG, "transfer": {"anchor": None}}
    id = create(client, "layer_sweep", edit)
    for kind, data in client.events_at(f"{PATH}/{id}"):
        if kind == "progress":
            client.request("POST", f"{PATH}/{id}/cancel")
        if kind == "failed":
            assert data["code"] == "cancelled"
    cancelled = get(client, id)
    assert cancelled["error"]["code"] == "cancelled"
    assert 0 < cancelled["step"] < cancelled["total_steps"]
    assert not (stack.data / "objects" / "analyses" / "default" / id).exists()
    with pytest.raises(ApiError) as refused:
        result(client, id)
    assert (refused.value.status, refused.value.code) == (409, "analysis_not_ready")


def test_a_sweep_names_layers_and_is_deleted(client: Client, stack: Stack) -> None:
    swept = ended(client, create(client, "layer_sweep", EDIT, layers=[3, 6]))
    assert swept["status"] == "completed", swept["error"]
    found = result(client, swept["id"])["experiment"]
    settings = ["plain", "none", "all", "layer 3", "layer 6"]
    assert found["coordinates"]["setting"][:5] == settings
    assert found["found"]["proposals"]
    folder = stack.data / "objects" / "analyses" / "default" / swept["id"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert swept["size_bytes"] == sum(path.stat().st_size for path in files)
    client.request("DELETE", f"{PATH}/{swept['id']}")
    assert not [path for path in folder.rglob("*") if path.is_file()]
    with pytest.raises(ApiError) as gone:
        get(client, swept["id"])
    assert gone.value.status == 404


def test_a_killed_worker_begins_it_again(client: Client) -> None:
    id = create(client, "sinks", LONG, layers=[3], steps=[49])
    killed = False
    starts = []
    for kind, data in client.events_at(f"{PATH}/{id}"):
        if kind == "started":
            starts.append(data["attempt"])
        if kind == "progress" and not killed:
            (pid,) = processes(WORKER)
            os.kill(pid, signal.SIGKILL)
            killed = True
    assert starts == [1, 2]
    done = get(client, id)
    assert done["status"] == "completed", done["error"]
    assert result(client, id)["sources"][0]["measures"]["sinks"]["strength"]["values"]
