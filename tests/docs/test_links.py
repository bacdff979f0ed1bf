"""What the docs point at is there: pages, headings, files, folders, modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "models/**/*.md")
    for path in ROOT.glob(pattern)
)
FOLDERS = (
    *("bench", "deploy", "docs", "models", "retake", "schemas", "scripts"),
    *("service", "storage", "tests", "training", "workers"),
)
SUFFIXES = (".py", ".lua", ".md", ".yaml", ".yml", "")
TEXTS = PAGES + sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in ROOT.joinpath(folder).rglob("*")
    if path.suffix in SUFFIXES and path.is_file()
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([\w./*-]+)`")
PATH = re.compile(rf"\b(?:{'|'.join(FOLDERS)})/[\w/*-]+\.(?:py|md|lua|yaml)\b")
MODULE = re.compile(rf"python -m ((?:{'|'.join(FOLDERS)})(?:\.\w+)*)")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in LINK.findall(FENCE.sub("", (ROOT / page).read_text())):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        assert not heading or heading in anchors(path), f"{page}: {target}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_code_that_looks_like_a_path_is_one(page: str) -> None:
    for name in CODE.findall((ROOT / page).read_text()):
        if name.partition("/")[0] in FOLDERS and "/" in name:
            assert any(ROOT.glob(name.rstrip("/"))), f"{page}: {name}"
        elif re.fullmatch(r"\w+\.(py|lua)", name):
            assert any(ROOT.glob(f"[a-z]*/**/{name}")), f"{page}: {name}"


def test_files_and_modules_exist_by_the_name_they_are_given() -> None:
    missing = [f"{text}: {name}" for text in TEXTS for name in unknown(text)]
    assert not missing, "\n".join(missing)


def unknown(text: str) -> list[str]:
    """The paths and the modules (``python -m …``) that a file names and that do not exist."""
    content = (ROOT / text).read_text()
    modules = [(name, ROOT.joinpath(*name.split("."))) for name in MODULE.findall(content)]
    return [name for name in PATH.findall(content) if not any(ROOT.glob(name))] + [
        name
        for name, path in modules
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists()
    ]
