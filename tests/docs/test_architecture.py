"""docs/architecture.md: its map shows every folder of the code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("schemas", "storage", "service", "workers", "retake", "training", "bench")


def test_every_folder_is_on_the_map() -> None:
    shown = set(re.findall(r"^\| `([\w/]+)/` \|", PAGE, re.MULTILINE))
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".lua", ".html")
    }
    assert not folders - shown
