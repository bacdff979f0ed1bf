"""`retake models sweep`: from a file of prompts to a table, sheets and presets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from workers.check.sweep import change_of
from workers.check.sweep_main import main, read_edits
from workers.model_settings import CardDefaults

PROMPTS = """# two kinds of edit
recolour | a car | a red car
recolour | a dog | a red dog
object | a car | a dog
"""


def test_a_sweep_of_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.wan().save_pretrained(tmp_path / "wan", safe_serialization=True)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPTS)
    settings = {"dtype": "float32", "defaults": tiny.DEFAULTS.model_dump(exclude_none=True)}
    code = main(
        [
            *(str(tmp_path / "wan"), "--prompts", str(prompts), "--out", str(tmp_path / "out")),
            *("--settings", json.dumps(settings), "--steps", "4"),
        ]
    )
    assert code == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    written = (tmp_path / "out" / "retake.json").read_text()
    presets = CardDefaults.model_validate_json(written).presets
    assert presets is not None
    assert set(presets) == {"auto", "recolour", "object"}
    assert all(set(preset.layers or ()) <= {0, 1, 2} for preset in presets.values())
    rows = (tmp_path / "out" / "sweep.md").read_text().splitlines()[2:]
    assert len(rows) == told["settings"]
    assert {row.split("|")[2].strip() for row in rows} == {"1", "2"}
    sheets = sorted((tmp_path / "out").glob("sheet-*.png"))
    assert len(sheets) == 3
    assert Image.open(sheets[0]).width == 8 * tiny.WIDTH


def test_the_prompts_file_is_checked() -> None:
    assert [edit.preset for edit in read_edits(PROMPTS)] == ["recolour", "recolour", "object"]
    for text, says in (("recolour | a car", "line 1"), ("blue | a | b", "line 1"), ("", "no edit")):
        with pytest.raises(ValueError, match=says):
            read_edits(text)


def test_a_change_is_told_apart_from_the_rest() -> None:
    source = np.full((2, 16, 16, 3), 100, np.uint8)
    edit = source + 5
    edit[:, :4, :4] = 250
    inside, outside = (change_of(edit, source, inside=each) for each in (True, False))
    assert inside == pytest.approx(150 / 255, abs=1e-3)
    assert outside == pytest.approx(5 / 255, abs=1e-3)
