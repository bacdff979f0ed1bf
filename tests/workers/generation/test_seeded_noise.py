"""Schedulers that draw noise: one seed is one video, whatever else is in the batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.tiny import parts
from tests.workers.bench import Bench, same_to_rounding

FLOW: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SCHEDULERS: dict[str, Any] = {
    "stochastic": parts.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    "sde": parts.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", **FLOW),
    "lcm": parts.FlowMatchLCMScheduler(),
}


@pytest.fixture(params=SCHEDULERS)
def noisy(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    pipeline = tiny.wan()
    pipeline.scheduler = SCHEDULERS[request.param]
    return Bench(tiny.load(pipeline, tmp_path))


def test_a_seed_means_one_video(noisy: Bench) -> None:
    first = noisy.latents_of(noisy.recipe())
    torch.manual_seed(99)
    assert torch.equal(noisy.latents_of(noisy.recipe()), first)
    assert not torch.equal(noisy.latents_of(noisy.recipe(seed=8)), first)


@pytest.mark.parametrize("form", ["hidden", "latents"])
def test_own_maps_give_the_run_back(noisy: Bench, form: Any) -> None:
    maps, latents = noisy.captured(noisy.recipe(), form)
    own = noisy.edit(noisy.recipe(), "a car")
    assert torch.equal(noisy.latents_of(own, transfer_from=maps, form=form), latents)


def test_a_row_draws_the_same_noise_in_every_batch(noisy: Bench) -> None:
    maps, _ = noisy.captured(noisy.recipe(), "hidden")
    edit = noisy.edit(noisy.recipe(), "some dog")
    stored = noisy.latents_of(edit, transfer_from=maps)
    plain = noisy.latents_of(noisy.recipe("some dog"))
    assert same_to_rounding(noisy.latents_of(edit), stored, plain)
