"""Every field of a request has an option that puts it there, told by what the commands send.

A field that is new in a schema fails here until a command line of ``COMMANDS`` sends it.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from retake.cli import app
from retake.client import ApiError
from schemas.analyses import Sampling
from schemas.attention import Anchor
from schemas.requests import CreateAnalysis, CreateVideo, EditVideo

UPLOAD = {"id": f"upload_{'0' * 40}"}
SETTINGS = (
    "--model", "scenes", "--seed", "3", "--size", "96x64", "--fps", "9", "--steps", "4",
    "--negative-prompt", "blur", "--guidance-scale", "2", "--guidance-scale-2", "3", "--lora",
    "flat=0.5", "--priority", "low",
    "--step-cache", '{"refresh": 5}', "--preview-every", "2", "--start-timeout-s", "60",
    "--webhook-url", "https://example.com/hook", "--image-fit", "pad", "--image",
)  # fmt: skip
COMMANDS: dict[type[BaseModel], list[tuple[str, ...]]] = {
    CreateVideo: [
        ("generate", "A car.", "--seconds", "1", "--capture", *SETTINGS, "PICTURE"),
        ("generate", "A car.", "--num-frames", "9", "--capture-spec", "{}", *SETTINGS, "PICTURE"),
    ],
    EditVideo: [
        ("edit", "A red car.", "--video", "video_0199c0ffee42", "--seconds", "1", "--capture",
         "--preset", "recolour", "--interval", "2", "--scale", "1", "--anchor-region", "{}",
         "--region", "auto",
         *SETTINGS, "PICTURE"),
        ("edit", "A red car.", "--source-prompt", "A car.", "--source-seed", "3", "--num-frames",
         "9", "--transfer", '{"layers": [1]}'),
        ("edit", "A red car.", "--video", "video_0199c0ffee42", "--image", UPLOAD["id"]),
        ("edit", "A red car.", "--video", "video_0199c0ffee42", "--region", "word:car"),
        ("edit", "PICTURE", "--source-prompt", "A car.", "--prompt", "A red car.", "--fit", "pad",
         "--start-s", "1"),
    ],
    CreateAnalysis: [
        ("analyse", "sparsity", "--prompt", "A car.", "--layers", "0-1", "--heads", "0", "--steps",
         "0,2", "--branches", "cond", "--rows", "64", "--row-seed", "1", "--densities", "0.1,0.5",
         "--masses", "0.9", "--causal", "{}", "--priority", "low",
         "--webhook-url", "https://example.com/hook"),
        ("analyse", "sinks", "--prompt", "A car.", "--seed", "1", "--ablations", "{}"),
    ],
}  # fmt: skip


class Recorder(ThreadingHTTPServer):
    """Takes uploads; notes the body of every other request, and refuses it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Recording)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Recording(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        uploading = self.path == "/v1/uploads"
        if not uploading:
            self.server.bodies.append(body)
        self.send_response(200 if uploading else 400)
        self.end_headers()
        self.wfile.write(json.dumps(UPLOAD).encode() if uploading else b"{}")

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests read the bodies."""


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent_by(recorder: Recorder, command: tuple[str, ...], picture: Path) -> bytes:
    arguments = [str(picture) if each == "PICTURE" else each for each in command]
    done = CliRunner().invoke(app, arguments, env={"RETAKE_URL": recorder.url, "COLUMNS": "200"})
    assert isinstance(done.exception, ApiError), done.output
    return recorder.bodies.pop()


@pytest.mark.parametrize("model", COMMANDS, ids=lambda model: model.__name__)
def test_every_field_has_an_option(
    model: type[BaseModel], recorder: Recorder, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"bytes that the server looks at")
    found: dict[str, Any] = {}
    for command in COMMANDS[model]:
        body = sent_by(recorder, command, picture)
        model.model_validate_json(body, strict=True)
        found = json.loads(body) | found
    assert found.keys() == model.model_fields.keys()
    if model is EditVideo:
        assert found["transfer"]["anchor"].keys() == Anchor.model_fields.keys()
    if model is CreateAnalysis:
        assert found["sampling"].keys() == Sampling.model_fields.keys()
