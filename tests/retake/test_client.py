"""The command line before and beside the server: addresses, paths, options, errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from retake.cli import app
from retake.client import address_of
from tests.service.conftest import Api
from tests.service.wire.test_pictures import file_of, halves

MAIN = [sys.executable, "-c", "from retake.cli import main; main()"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("retake.example.com", "https://retake.example.com/v1"),
        ("https://example.com/retake", "https://example.com/retake/v1"),
    ],
)
def test_an_address_in_any_form(given: str, address: str) -> None:
    assert address_of(given) == address


def invoke(api: Api, *arguments: str, **env: str) -> Result:
    wide = {"COLUMNS": "400"}  # no path of a message is broken
    return CliRunner().invoke(app, arguments, env={"RETAKE_URL": api.url, **wide, **env})


def test_a_path_that_cannot_be_written_costs_no_video(api: Api, tmp_path: Path) -> None:
    before = api.count()
    for out in (tmp_path / "none" / "x.mp4", tmp_path):
        done = invoke(api, "generate", "A car.", "--out", str(out))
        assert done.exit_code == 2
        assert "--out" in done.output
    assert api.count() == before
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_a_generation(api: Api, tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    done = invoke(
        api, "generate", "A car.", "--seed", "7", "--num-frames", "9", "--fps", "9", "--steps", "3",
        "--size", "64x64", "--guidance-scale", "2.5", "--negative-prompt", "blur", "--priority",
        "high", "--capture-spec", '{"layers": [3]}', "--out", str(out),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert out.read_bytes()[4:8] == b"ftyp"
    video = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    wanted = {"seed": 7, "num_frames": 9, "fps": 9, "num_inference_steps": 3, "size": "64x64"}
    assert {name: video[name] for name in wanted} == wanted
    assert (video["guidance_scale"], video["negative_prompt"]) == (2.5, "blur")


def test_every_field_of_an_edit(api: Api, tmp_path: Path) -> None:
    source = {"prompt": "A car.", "seed": 3, "num_frames": 9}
    done = invoke(
        api, "edit", "A red car.", "--source", json.dumps(source), "--fps", "12", "--no-capture",
        "--preset", "recolour", "--out", str(tmp_path / "x.mp4"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    video = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert (video["seed"], video["num_frames"], video["fps"]) == (3, 9, 12)


def test_a_picture_to_start_from(api: Api, tmp_path: Path) -> None:
    picture = tmp_path / "car.png"
    picture.write_bytes(file_of(halves()))
    named = ("--image", str(picture), "--image-fit", "pad", "--out", str(tmp_path / "x.mp4"))
    done = invoke(api, "generate", "A car.", "--model", "wan-i2v", *named)
    assert done.exit_code == 0, done.output
    source = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert source["input_reference"]["fit"] == "pad"
    picture.write_bytes(file_of(halves().rotate(180)))
    done = invoke(api, "edit", "A car.", "--video", source["id"], *named)
    assert done.exit_code == 0, done.output
    edit = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert edit["input_reference"]["sha256"] != source["input_reference"]["sha256"]
    done = invoke(api, "generate", "A car.", "--image", str(tmp_path / "none.png"))
    assert (done.exit_code, "none.png" in done.output) == (2, True)


def test_ids_are_whole_at_80_columns(api: Api) -> None:
    video = api.finished("A car with a long prompt. " * 5)
    done = invoke(
        api, "list", "--limit", "1", "--status", "completed", "--model", "scenes", COLUMNS="80"
    )
    assert video["id"] in done.output
    assert video["id"] not in invoke(api, "list", "--status", "queued", COLUMNS="80").output


def failed(*arguments: str, **env: str) -> str:
    """What the real command says on standard error; no traceback, and not status 0."""
    done = subprocess.run(
        [*MAIN, *arguments], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "no answer from"),
        ("http://[::1", "no server's address"),
        ("ftp://127.0.0.1", "no answer from"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(url: str, says: str) -> None:
    assert says in failed("models", RETAKE_URL=url)


def test_errors_of_the_server_are_one_line(api: Api) -> None:
    assert "no video" in failed("get", "nothing", RETAKE_URL=api.url)
    said = failed("generate", "A car.", "--fps", "99", RETAKE_URL=api.url)
    assert said.strip().startswith("fps: 99 is not allowed")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: Any = failed("serve", "--data", str(tmp_path / "file" / "data"))
    assert "Not a directory" in said


def test_the_version() -> None:
    done = subprocess.run([*MAIN, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("retake ")
