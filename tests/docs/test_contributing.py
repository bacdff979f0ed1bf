"""What CONTRIBUTING.md promises: hooks that are the scripts, a marker per package, its examples."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"], "others are downloaded"
    found: list[dict[str, Any]] = config["repos"][0]["hooks"]
    return found


def test_a_commit_is_checked_by_the_scripts_that_the_test_run_calls() -> None:
    lines = (ROOT / "scripts/test").read_text().split()
    assert [hook["entry"] for hook in hooks()] == ["scripts/lint", "scripts/types"]
    for hook in hooks():
        assert hook["language"] == "system"
        assert hook["entry"] in lines
        assert (ROOT / hook["entry"]).stat().st_mode & 0o111, "it must be executable"


def test_every_installed_package_is_typed() -> None:
    tool = PYPROJECT["tool"]["setuptools"]
    assert "py.typed" in tool["package-data"]["*"]
    for pattern in tool["packages"]["find"]["include"]:
        assert (ROOT / pattern.rstrip("*") / "py.typed").exists(), pattern


def test_every_script_is_described() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for script in (ROOT / "scripts").iterdir():
        assert f"scripts/{script.name}" in page, script.name
