"""The wheel in a virtual environment of its own, in another folder, without the repository."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.servers import free_ports

ROOT = Path(__file__).parents[2]


class Installed:
    """``python`` runs in the new environment, in an empty folder, with nothing of ours in it."""

    def __init__(self, folder: Path) -> None:
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.bin = folder / "venv" / "bin"
        self.env = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONSAFEPATH") and not name.startswith("RETAKE_")
        }

    def run(self, program: str, *arguments: str, timeout_s: float = 300) -> str:
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.elsewhere, env=self.env, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def copy_checked_in(target: Path) -> None:
    """What is in the repository, without what was built or installed beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z",
         "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE",
         "models", "retake", "schemas", "service", "storage", "workers"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    copy_checked_in(folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, "./source"],
        cwd=folder, check=True, timeout=300,
    )  # fmt: skip
    (wheel,) = folder.glob("retake-*.whl")
    shutil.rmtree(folder / "source")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    new = folder / "venv" / "bin" / "python"
    # --python: into the other environment, whose own pip would take seconds to set up
    subprocess.run([*pip, "--python", new, "install", "--no-deps", wheel], check=True, timeout=300)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # the packages that it stands on are those of this environment, but for ours: a path in a .pth
    # file brings no further .pth, which is where an editable install is named
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Installed(folder)


def test_the_packages_are_the_installed_ones_and_the_model_came_along(
    installed: Installed,
) -> None:
    code = (
        "import json, retake.client, retake.cli, service.app, workers.settings as w\n"
        "from pathlib import Path\n"
        "folder = Path(w.BUNDLED.path)\n"
        "files = sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())\n"
        "print(json.dumps([retake.__file__, service.app.__file__, str(folder), files]))"
    )
    *places, files = json.loads(installed.run("python", "-c", code))
    assert all(place.startswith(str(installed.bin.parent)) for place in places), places
    here = ROOT / "models" / "scenes"
    assert files == sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file())
    assert installed.run("retake", "--version").startswith("retake ")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_serve(installed: Installed) -> None:
    """And a folder called like one of our packages, where the command is given, is not ours."""
    (installed.elsewhere / "service").mkdir()
    (installed.elsewhere / "service" / "__main__.py").write_text("raise SystemExit('not ours')")
    (port,) = free_ports(1)
    env: Mapping[str, str] = {**installed.env, "COLUMNS": "200"}
    with subprocess.Popen(
        [str(installed.bin / "retake"), "serve", "--port", str(port)],
        cwd=installed.elsewhere, env=env, stdout=subprocess.PIPE, text=True,
    ) as serving:  # fmt: skip
        assert serving.stdout is not None
        try:
            for line in serving.stdout:
                if "Studio" in line:
                    break
            url = f"http://127.0.0.1:{port}"
            assert "<title>Retake Studio</title>" in httpx.get(f"{url}/studio").text
            assert "swagger" in httpx.get(f"{url}/docs").text.lower()
            body = {"prompt": "A car is driving on the highway.", "num_inference_steps": 1}
            video = httpx.post(f"{url}/v1/videos", json=body).json()
            ended = httpx.get(f"{url}/v1/videos/{video['id']}?wait=60", timeout=90).json()
            assert ended["status"] == "completed", ended
            assert ended["attention_kept"] is True
        finally:
            serving.send_signal(signal.SIGTERM)
    assert (installed.elsewhere / "retake-data").is_dir()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo(installed: Installed) -> None:
    said = installed.run("retake", "demo", "--out", "films", timeout_s=800)
    assert re.search(r"Done in", said)
    assert len(list((installed.elsewhere / "films").glob("*.mp4"))) == 7
