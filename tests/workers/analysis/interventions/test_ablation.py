"""Sink ablation: which sinks and controls, what interval, and the whole of it on a tiny model."""

import numpy as np
import pytest

from tests import tiny
from workers.analysis.interventions.ablation import (
    HOW,
    AblationPlan,
    Sink,
    ablate_sinks,
    ablation_cells,
    ablation_steps,
    difference,
    strongest_sinks,
)
from workers.analysis.interventions.changes import AblateColumns, AblateHeads
from workers.analysis.interventions.videos import Progress, most_in_a_batch
from workers.models.pipelines import LoadedModel

PLAN = AblationPlan((Sink(2, 0, 5, 30.0), Sink(2, 1, 9, 20.0)), tokens=40, heads=8, controls=4)


def test_a_sink_is_the_same_token_at_most_places() -> None:
    token = np.zeros((4, 2, 2))
    strength = np.ones((4, 2, 2))
    token[:, 1, 0] = 7, 7, 7, 3
    strength[:, 1, 0] = 40, 40, 40, 900  # at one place alone, of another token
    token[:, 0, 1] = 2
    strength[:, 0, 1] = 25
    found = strongest_sinks(strength, token, layers=(4, 6), heads=(0, 1), count=2)
    assert found == [Sink(6, 0, 7, 30.0), Sink(4, 1, 2, 25.0)]


def test_every_ablation_has_controls_of_its_budget() -> None:
    cells = ablation_cells(PLAN)
    assert len(cells) == len(PLAN.targets) * len(HOW) * (1 + PLAN.controls)
    for cell in cells:
        target = PLAN.targets[cell.target]
        change = cell.change
        if isinstance(change, AblateHeads):
            assert len(change.heads) == len(target)
            own = {(sink.layer, sink.head) for sink in target}
            assert (change.heads == own) == (cell.draw is None)
            assert {layer for layer, _ in change.heads} == {2}
            continue
        assert isinstance(change, AblateColumns)
        assert set(change.columns) == {(sink.layer, sink.head) for sink in target}
        for sink in target:
            (token,) = change.columns[sink.layer, sink.head]
            assert (token == sink.token) == (cell.draw is None)
            assert 0 <= token < PLAN.tokens
    assert [c.change for c in cells] == [c.change for c in ablation_cells(PLAN)], (
        "a seed names them"
    )


def test_heads_that_all_have_sinks_still_have_a_control() -> None:
    full = AblationPlan((Sink(0, 0, 1, 9.0), Sink(0, 1, 1, 8.0)), tokens=9, heads=2, controls=1)
    heads = [c.change for c in ablation_cells(full) if isinstance(c.change, AblateHeads)]
    assert all(each.heads for each in heads)


def test_the_difference_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    sinks = rng.normal(20, 1, (30, 2))
    controls = rng.normal(30, 1, (30, 2, 5))
    found = difference(sinks, controls)
    assert found.value == pytest.approx(-10, abs=1)
    assert found.low is not None
    assert found.high is not None
    assert ((found.low < found.value) & (found.value < found.high)).all()
    assert (found.high < -9).all()
    same = difference(controls[..., 0], controls[..., 1:])
    assert same.low is not None
    assert same.high is not None
    assert ((same.low < 0) & (same.high > 0)).all()


def test_the_whole_test(model: LoadedModel) -> None:
    generations = [tiny.recipe(model, seed=seed).generation for seed in (7, 8)]
    plan = AblationPlan((Sink(1, 0, 3, 9.0),), tokens=8, heads=2, controls=2)
    heard: list[int] = []
    total = ablation_steps(generations, plan, most_in_a_batch(model))
    progress = Progress(total, lambda done, of: heard.append(done))
    found = ablate_sinks(model, generations, plan, progress)
    assert heard == list(range(1, total + 1))
    for name, measure in found.measures.items():
        assert measure.values.shape == tuple(
            len(found.coordinates[axis]) for axis in measure.axes
        ), name
        assert np.isfinite(measure.values).all(), name
    # the other of two heads is the one control there is
    control = found.measures["control_psnr"].values[:, 0, HOW.index("head out")]
    assert control[:, 0] == pytest.approx(control[:, 1], abs=1.0)
    assert found.measures["difference_psnr"].low is not None
