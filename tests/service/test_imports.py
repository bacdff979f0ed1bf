"""The API process stays small: it never loads what only workers need."""

import json
import subprocess
import sys

HEAVY = ("torch", "ray", "diffusers", "transformers", "numpy", "workers", "retake.cli")


def test_the_api_imports_nothing_of_the_workers() -> None:
    code = "import json, sys, service.__main__; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert "service.app" in loaded
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY or name in HEAVY]
