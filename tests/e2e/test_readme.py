"""Every block of the README, run as it stands; only the port is the test stack's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retake.client import Client
from retake.stack import Stack
from retake.videos import read_video

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
COMMANDS = [text.strip() for kind, text in BLOCKS if text.startswith("scripts/")]
CURL = next(text for _, text in BLOCKS if text.startswith("curl"))
PYTHON = next(text for kind, text in BLOCKS if kind == "python")


def test_no_block_is_left_out() -> None:
    assert len(BLOCKS) == len(COMMANDS) + 2
    assert COMMANDS == ["scripts/demo", "scripts/test"]


def test_the_test_command_is_what_ci_runs() -> None:
    # this suite is its last step, so it cannot be run from within; every script must at least parse
    assert "exec scripts/test" in (ROOT / ".ci/run").read_text()
    for script in (ROOT / "scripts").iterdir():
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.timeout(600)
def test_demo(tmp_path: Path) -> None:
    command = [str(ROOT / COMMANDS[0]), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    films = {path.stem for path in tmp_path.glob("*.mp4")}
    edits = {f"{name}-{kind}" for name in ("red", "winter", "truck") for kind in ("plain", "edit")}
    assert films == {"source"} | edits
    assert (tmp_path / "contact_sheet.png").stat().st_size > 10_000
    assert "Similarity of structure" in done.stdout


def test_curl(stack: Stack, client: Client) -> None:
    done = subprocess.run(
        ["bash", "-c", _here(CURL, stack)], capture_output=True, text=True, check=True
    )
    video = json.loads(done.stdout)
    assert video["object"] == "video"
    kinds = [kind for kind, _ in client.events(video["id"])]
    assert kinds[-1] == "completed"


def test_sdk_call(stack: Stack, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _here(PYTHON, stack)], cwd=tmp_path, check=True)
    assert read_video(tmp_path / "red.mp4").shape == (17, 64, 96, 3)


def _here(block: str, stack: Stack) -> str:
    assert "127.0.0.1:8000" in block
    return block.replace("127.0.0.1:8000", f"{stack.host}:{stack.port}")
