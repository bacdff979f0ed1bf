"""The bench's report has every key that is promised, and the sweep covers what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.edit_quality import FIGURES, PAPER, RUNS, choices_of, summarise
from bench.sweep_presets import anchored_settings, paper_settings, parts
from training.edits import EDITS
from training.exchange import Anchor, Choice


def test_every_edit_reports_every_figure_with_an_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = {
        f"{edit.name}.{run}.{key}": np.linspace(0.0, 1.0, 11)
        for edit in EDITS
        for run in RUNS
        for key in FIGURES
    }
    figures["text.red.change_made"] = np.ones(4)
    summary = summarise(figures)
    for key in ("red.plain.structure", "red.edit.cost", "dog.paper.whole"):
        assert summary[key] == 0.5
        interval = summary[f"{key}.interval"]
        assert isinstance(interval, list)
        assert 0.2 < interval[0] < 0.5 < interval[1] < 0.8
    assert summary["text.red.change_made"] == 1.0
    assert "winter" in capsys.readouterr().out


def test_an_edit_is_measured_with_the_models_own_preset(tmp_path: Path) -> None:
    general = choices_of(tmp_path, 20)
    assert {edit.kind for edit in EDITS} <= set(general)
    assert {edit.kind for edit in EDITS} <= set(PAPER)
    assert general["background"] == Choice(anchor=Anchor(interval=5, scale=1.0))
    assert general["paper"] == Choice()
    preset = '{"layers": [1], "steps": 0.2, "anchor": {"interval": 4, "scale": 1.5}}'
    (tmp_path / "retake.json").write_text(f'{{"presets": {{"object": {preset}}}}}')
    own = Choice(steps=(0, 4), layers=(1,), anchor=Anchor(interval=4, scale=1.5))
    assert choices_of(tmp_path, 20) == general | {"object": own}


def test_the_anchored_sweep_varies_what_is_computed_and_what_is_taken() -> None:
    for steps, usual in ((20, 5), (50, 8)):
        table = anchored_settings(steps, layers=8)
        choices = [choice for choice in table.values() if choice is not None and choice.anchor]
        anchors = [choice.anchor for choice in choices if choice.anchor is not None]
        assert table[f"k {usual}, 2, 3, 6"] == Choice(layers=(2, 3, 6), anchor=Anchor(usual))
        assert len({anchor.interval for anchor in anchors}) >= 6
        assert len({anchor.scale for anchor in anchors}) == 5
        assert {anchor.region for anchor in anchors} == {"all", "first", "renewed"}
        assert {choice.layers for choice in choices} >= {(), None, *((k,) for k in range(8))}
        assert any(anchor.warm_start for anchor in anchors)
        assert any(anchor.dense_until for anchor in anchors)


def test_a_call_of_the_sweep_has_only_anchored_edits_or_none() -> None:
    table = anchored_settings(steps=20, layers=8)
    calls = parts(table, group=4)
    assert [name for call in calls for name in call][:3] == list(table)[:3]
    assert sorted(name for call in calls for name in call) == sorted(table)
    for call in calls:
        assert len(call) <= 4
        assert len({bool(choice and choice.anchor) for choice in call.values()}) == 1


def test_the_papers_sweep_varies_steps_layers_branches_and_strength() -> None:
    table = paper_settings(steps=20, layers=8)
    choices = [choice for choice in table.values() if choice is not None]
    assert table["plain"] is None
    assert table["all"] == Choice()
    assert {choice.layers for choice in choices} >= {(layer,) for layer in range(8)}
    assert {choice.branches for choice in choices} >= {("cond",), ("uncond",)}
    assert len({choice.steps for choice in choices}) > 8
    assert len({choice.strength for choice in choices}) == 4
    assert any(choice.source_branch == "cond" for choice in choices)
    assert table["steps 0-50%"] == Choice(steps=(0, 10))
