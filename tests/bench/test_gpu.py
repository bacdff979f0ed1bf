"""The GPU bench in its small size: a lent machine's time is no place to find its mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_part_runs_and_own_maps_give_the_run_back() -> None:
    parts = ["profile", "qk", "hidden", "latents", "backends", "faster"]
    command = [sys.executable, "-m", "bench.gpu", "--tiny", "--steps", "3", "--parts", *parts]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # at this size threads only cost
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["tiny"]
    assert figures["self_transfer_max_diff"] == 0.0
    assert figures["hooked_to_stock_max_diff"] == 0.0
    assert figures["released"] is True
    for form in ("hidden", "qk"):
        for codec in ("int8", "zipnn"):
            assert {
                f"capture_{form}_{codec}",
                f"edit_{form}_from_disk_{codec}",
                f"edit_{form}_from_host_memory_{codec}",
            } <= set(figures)
    others = {"edit_from_latents_all_layers", "profile_ms_a_step", "backend_native_step_ms"}
    others |= {"first_block_alone", "float8_weights"}
    assert others <= set(figures)
