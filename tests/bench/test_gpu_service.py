"""The bench of the whole service in its small size, on the CPU: it works before a GPU is lent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def figures_of(*arguments: str) -> dict[str, float]:
    """The last line of the bench, which must have ended well."""
    command = [sys.executable, "-m", "bench.gpu_service", "--gpus", "0", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_replicas_and_ranks_of_the_bundled_model() -> None:
    figures = figures_of("--replicas", "1", "--videos", "2", "--steps", "4", "--ranks", "2")
    assert figures["videos_per_second_1"] > 0
    assert figures["edits_per_second_1"] > 0
    for exact in ("replicas_1_own_maps", "replicas_1_same_seed", "bundled_ranks_2_own_maps"):
        assert figures[exact] == 0.0
    assert figures["bundled_ranks_2_forms"] == 3
    assert figures["bundled_ranks_2_killed_difference"] == 0.0


def test_the_real_size_through_http() -> None:
    parts = ("calls", "bare", "replay", "ranks", "tail")
    steps = ("--real-steps", "6", "--rank-steps", "4", "--ranks", "2")
    figures = figures_of("--real-size", "tiny", "--parts", *parts, *steps)
    phases = ("text", "denoising", "decoding", "encoding", "upload", "around")
    assert {f"{phase}_s" for phase in phases} <= set(figures)
    for exact in ("own_maps_latents", "own_maps_disk", "ranks_1_own_maps", "ranks_2_own_maps"):
        assert figures[exact] == 0.0
    for edit in (
        "edit_latents",
        "edit_disk",
        "edit_few_steps_latents",
        "edit_few_steps_disk",
        "ranks_2_edit",
    ):
        assert figures[f"{edit}_changed"] > 0
    assert {
        "service_over_pipeline",
        "anchored_replayed",
        "ranks_2",
        "host_peak_gib",
        "tail_decode_s",
    } <= set(figures)
