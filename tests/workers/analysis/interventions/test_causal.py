"""The causal test: its arithmetic on made-up numbers, and the whole of it on a tiny model."""

import numpy as np
import pytest

from tests import tiny
from workers.analysis.interventions.causal import (
    Causal,
    CausalPlan,
    causal_steps,
    causal_test,
    unexpected_loss,
)
from workers.analysis.interventions.changes import Where
from workers.analysis.interventions.distances import MOST_PSNR
from workers.analysis.interventions.videos import Progress, most_in_a_batch
from workers.models.pipelines import LoadedModel

MASSES = np.array([[0.9, 0.6], [0.99, 0.9], [0.95, 0.8], [0.97, 0.7], [0.9, 0.5]])


def test_a_layer_off_the_line_is_found() -> None:
    psnr = 10 - 20 * np.log10(1 - MASSES)
    assert unexpected_loss(MASSES, psnr) == pytest.approx(0, abs=1e-9)
    psnr[3] -= 15
    gaps = unexpected_loss(MASSES, psnr)
    assert gaps[3] == pytest.approx([15, 15], abs=3)
    assert np.abs(np.delete(gaps, 3, axis=0)).max() < 3


def test_nothing_to_compare() -> None:
    assert unexpected_loss(np.full((1, 1), 0.5), np.full((1, 1), 30.0)) == pytest.approx(0)
    assert unexpected_loss(np.full((3, 2), 0.5), np.zeros((3, 2))) == pytest.approx(0)


def run(model: LoadedModel, plan: CausalPlan, seeds: tuple[int, ...] = (7,)) -> Causal:
    generations = [tiny.recipe(model, seed=seed).generation for seed in seeds]
    heard: list[int] = []
    total = causal_steps(generations, plan, most_in_a_batch(model))
    masses = np.linspace(0.5, 0.9, len(plan.layers) * len(plan.densities))
    progress = Progress(total, lambda done, of: heard.append(done))
    found = causal_test(model, generations, masses.reshape(len(plan.layers), -1), plan, progress)
    assert heard == list(range(1, total + 1)), "the number of steps is known beforehand"
    return found


def test_the_whole_test(model: LoadedModel) -> None:
    plan = CausalPlan(layers=(0, 2), densities=(1.0, 0.5, 0.05), control=True, dense_layers=(2,))
    found = run(model, plan, seeds=(7, 8))
    alone = found.measures["alone_psnr"]
    assert alone.axes == ("source", "temperature", "layer", "density")
    assert alone.values.shape == (2, 1, 2, 3)
    for name, measure in found.measures.items():
        assert np.isfinite(measure.values).all(), name
        assert measure.values.shape == tuple(
            len(found.coordinates[axis]) for axis in measure.axes
        ), name
    # density 1 is the video itself, but for the rounding of a batch of another size
    floor = found.measures["floor_psnr"].values
    assert floor.min() > 50
    assert alone.values[..., 0].min() >= floor.min() - 5
    assert (alone.values[..., 0] > alone.values[..., 1]).all()
    together = found.measures["together_psnr"].values
    assert (together[:, 0, 0, 2] < together[:, 0, 1, 2]).all(), "one layer left alone is nearer"
    assert found.dense_layers == (2,)
    random = found.measures["control_psnr"].values
    assert random[..., 0].max() <= MOST_PSNR
    assert not np.array_equal(random[..., 1:], alone.values[..., 1:])


def test_outside_its_steps_nothing_changes(model: LoadedModel) -> None:
    plan = CausalPlan(layers=(1,), densities=(0.05,), where=Where(steps=frozenset()))
    found = run(model, plan)
    alone, floor = (found.measures[f"{name}_psnr"].values.item() for name in ("alone", "floor"))
    assert min(alone, floor) > 60, "but for the rounding of another place in the batch"
