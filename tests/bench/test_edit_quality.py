"""The bench's report has every key that is promised, and the sweep covers what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.edit_quality import FIGURES, choices_of, summarise
from bench.sweep_presets import settings_list
from training.edits import EDITS
from training.exchange import Choice


def test_every_edit_reports_every_figure_with_an_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = {
        f"{edit.name}.{run}.{key}": np.linspace(0.0, 1.0, 11)
        for edit in EDITS
        for run in ("plain", "edit")
        for key in FIGURES
    }
    figures["text.red.change_made"] = np.ones(4)
    summary = summarise(figures)
    for key in ("red.plain.structure", "red.edit.structure", "dog.edit.change_made"):
        assert summary[key] == 0.5
        interval = summary[f"{key}.interval"]
        assert isinstance(interval, list)
        assert 0.2 < interval[0] < 0.5 < interval[1] < 0.8
    assert summary["text.red.change_made"] == 1.0
    assert "winter" in capsys.readouterr().out


def test_an_edit_is_measured_with_the_models_own_preset(tmp_path: Path) -> None:
    general = choices_of(tmp_path, 20)
    assert {edit.kind for edit in EDITS} <= set(general)
    assert general["background"] == Choice(steps=(0, 10))
    (tmp_path / "retake.json").write_text('{"presets": {"object": {"layers": [1], "steps": 0.2}}}')
    assert choices_of(tmp_path, 20) == general | {"object": Choice(steps=(0, 4), layers=(1,))}


def test_the_sweep_varies_steps_layers_branches_and_strength() -> None:
    table = settings_list(steps=20, layers=8)
    choices = [choice for choice in table.values() if choice is not None]
    assert table["plain"] is None
    assert table["all"] == Choice()
    assert {choice.layers for choice in choices} >= {(layer,) for layer in range(8)}
    assert {choice.branches for choice in choices} >= {("cond",), ("uncond",)}
    assert len({choice.steps for choice in choices}) > 8
    assert len({choice.strength for choice in choices}) == 4
    assert any(choice.source_branch == "cond" for choice in choices)
    assert table["steps 0-50%"] == Choice(steps=(0, 10))
