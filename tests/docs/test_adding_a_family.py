"""docs/adding-a-family.md: its example is a family, and its fields are fields."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from workers.families.base import Defaults, Family, Pattern
from workers.families.mochi import MOCHI

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-family.md").read_text()


def test_the_example_is_the_family_that_is_served() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/adding-a-family.md", "exec"), names)  # our own page
    shown: Family = names["MOCHI"]
    for field in dataclasses.fields(Family):
        if field.name not in ("attention", "defaults"):
            assert getattr(shown, field.name) == getattr(MOCHI, field.name), field.name
    assert [each.path for each in shown.attention] == [each.path for each in MOCHI.attention]
    assert dataclasses.replace(shown.defaults, max_frames=MOCHI.defaults.max_frames) == (
        MOCHI.defaults
    )


def test_the_table_names_fields() -> None:
    known = {
        field.name for kind in (Family, Pattern, Defaults) for field in dataclasses.fields(kind)
    }
    rows = re.findall(r"^\|.*\|([^|]*)\|$", PAGE.partition("## 2.")[0], re.MULTILINE)
    given = {name for row in rows for name in re.findall(r"\b(\w+)=", row)}
    first = {name for row in rows for name in re.findall(r"^\s*`(\w+)[`=]", row)}
    assert given
    assert first
    assert given | first <= known | {"text_video", "video_text"}, (given | first) - known


def test_the_methods_to_override_exist() -> None:
    (sentence,) = re.findall(r"^Override a method .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    methods = re.findall(r"`(\w+)`", sentence)
    assert methods
    assert all(callable(getattr(Family, name)) for name in methods)
