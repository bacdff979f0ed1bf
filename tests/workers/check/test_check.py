"""`retake models check`: on the bundled model as a user runs it, and on models that are wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.tiny import parts
from workers.check.__main__ import main

ROOT = Path(__file__).parents[3]
SCENES = ROOT / "models" / "scenes"
DEFAULTS = {"defaults": tiny.DEFAULTS.model_dump(exclude_none=True), "dtype": "float32"}


def last_line(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def checked(pipeline: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    pipeline.save_pretrained(folder, safe_serialization=True)
    capsys.readouterr()
    code = main([str(folder), "--settings", json.dumps(DEFAULTS)])
    found = last_line(capsys.readouterr().out)
    assert code == (0 if found["ok"] else 1)
    return found


def test_the_bundled_model_is_right() -> None:
    start = "from retake.cli import main; main()"
    command = [sys.executable, "-c", start, "models", "check", str(SCENES)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = last_line(ran.stdout)
    assert found["ok"] is True
    assert found["own_maps_difference"] == 0
    # two of four steps, of one branch of two, and the source's layers again
    assert found["edit_cost"] == 0.5
    assert found["edit_change"] > 0
    assert set(found["forms"]) >= {"hidden", "qk", "latents"}
    assert found["wrong"] == []
    assert sum(found["component_bytes"].values()) == found["weight_bytes"]


def test_a_folder_that_does_not_load_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    found = last_line(capsys.readouterr().out)
    assert "no readable model_index.json" in found["wrong"][0]


def test_what_is_odd_is_told_and_not_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = tiny.wan()
    pipeline.scheduler = parts.FlowMatchHeunDiscreteScheduler()
    found = checked(pipeline, tmp_path, capsys)
    assert found["ok"]
    assert "FlowMatchHeunDiscreteScheduler" in found["odd"][0]
    assert "own_maps_difference" not in found


def test_an_overflow_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = tiny.wan()
    with torch.no_grad():
        pipeline.transformer.proj_out.bias[0] = float("inf")
    found = checked(pipeline, tmp_path, capsys)
    assert not found["ok"]
    assert "numbers are infinite" in found["wrong"][0]
