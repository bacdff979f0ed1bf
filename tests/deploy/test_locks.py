"""What is installed is locked: every file by its hash, all but torch's and CUDA's."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HASHED = ("requirements", "requirements-workers", "requirements-test")
PINNED = re.compile(r"^(\S+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "requirements": PROJECT["dependencies"],
    "requirements-workers": PROJECT["optional-dependencies"]["workers"],
    "requirements-test": PROJECT["optional-dependencies"]["test"],
}


def locked(name: str) -> Mapping[str, str]:
    """Versions by canonical name, of the packages that have hashes."""
    found = PINNED.findall((ROOT / f"{name}.lock").read_text())
    return {canonicalize_name(package): version for package, version, _ in found}


@pytest.mark.parametrize("name", HASHED)
def test_every_line_of_a_lock_is_a_version_and_its_hashes(name: str) -> None:
    head, rest = (ROOT / f"{name}.lock").read_text().split("\n", 1)
    assert head.startswith("# Made by scripts/lock")
    assert PINNED.sub("", rest).strip() == ""
    assert "torch" not in locked(name)
    others = [locked(other) for other in HASHED if other != name]
    assert not any(locked(name).keys() & other.keys() for other in others)


def test_what_pyproject_asks_for_is_locked_as_it_asks() -> None:
    known = {"torch": (ROOT / "requirements-torch.lock").read_text().rpartition("==")[2].strip()}
    for name in HASHED:  # each stands on those before it
        known |= locked(name)
        for requirement in map(Requirement, EXTRAS[name]):
            version = known[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize(
    "path", ["scripts/setup", "deploy/Dockerfile.service", "deploy/Dockerfile.worker"]
)
def test_nothing_else_is_installed_without_a_hash(path: str) -> None:
    text = (ROOT / path).read_text().replace("\\\n", " ")
    said = re.findall(r"\binstall (-[^&\n]*)", text)
    commands = [each for each in said if "--yes" not in each and '"$@"' not in each]
    assert any("--require-hashes" in command for command in commands)
    for command in commands:
        ours = re.search(r"--no-deps --no-build-isolation (--editable )?\. *$", command)
        torch = command.rstrip().endswith("--requirement requirements-torch.lock")
        assert ours or torch or "--no-deps --require-hashes" in command, command


@pytest.mark.slow
def test_setup_refuses_a_file_that_was_changed(tmp_path: Path) -> None:
    sha256 = make_wheel(tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/installed-run").write_text("of a lock before this one")
    shutil.copy(ROOT / "scripts/setup", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'whole'\nversion = '1'\n")
    for name, lines in (("-workers", ""), ("-torch", "tiny==1.0\n")):
        (tmp_path / f"requirements{name}.lock").write_text(lines)
    (tmp_path / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    assert "DO NOT MATCH THE HASHES" in run_setup(tmp_path)
    assert not (tmp_path / ".venv/installed-run").exists()
    assert not list(tmp_path.glob(".venv/lib/*/site-packages/tiny.py"))
    (tmp_path / "requirements.lock").write_text(f"tiny==1.0 --hash=sha256:{sha256}\n")
    assert "HASHES" not in run_setup(tmp_path)
    assert list(tmp_path.glob(".venv/lib/*/site-packages/tiny.py"))


def make_wheel(folder: Path) -> str:
    """A package of one module; its SHA-256."""
    path, about = folder / "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_setup(folder: Path) -> str:
    """What ``scripts/setup`` says, where the only index is the folder."""
    env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    env |= {"PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run([folder / "scripts/setup"], env=env, capture_output=True, text=True)
    return done.stderr
