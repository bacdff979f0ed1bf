"""The clean film that previews show, against each scheduler's own account of the same step."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import parts
from workers.previews.x0_prediction import held_estimate, weights_of

STEPS = 6


def flow(**options: Any) -> Any:
    return parts.FlowMatchEulerDiscreteScheduler(shift=7.0, **options)


def walked(scheduler: Any) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor | None]]:
    """A run of random model outputs: step, output, latents before and behind, and the clean film
    that the scheduler itself reports, where it does."""
    random = torch.Generator().manual_seed(0)
    scheduler.set_timesteps(STEPS)
    latents = torch.randn(4, 3, 5, generator=random)
    for step, time in enumerate(scheduler.timesteps):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, time)
        output = torch.randn(latents.shape, generator=random)
        said = scheduler.step(output, time, latents)
        yield step, output, latents, said.prev_sample, getattr(said, "pred_original_sample", None)
        latents = said.prev_sample


@pytest.mark.parametrize(
    "scheduler",
    [
        flow(),
        flow(invert_sigmas=True),  # Mochi's
        parts.FlowMapEulerDiscreteScheduler(shift=5.0),
        parts.HeliosScheduler(stages=1, stage_range=[0, 1], scheduler_type="euler"),
    ],
    ids=["flow", "inverted", "flow map", "helios"],
)
def test_euler_on_a_flow(scheduler: Any) -> None:
    """The model's output is the way along sigma: the film lies at the end of it."""
    for step, output, before, after, _ in walked(scheduler):
        weights = weights_of(scheduler, step)
        assert weights is not None
        shown = weights.before * before + weights.after * after
        end = 1.0 if scheduler.config.get("invert_sigmas") else 0.0
        film = before + (end - scheduler.sigmas[step]) * output
        torch.testing.assert_close(shown, film.to(shown), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "scheduler",
    [
        parts.DDIMScheduler(clip_sample=False),
        parts.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        parts.EDMEulerScheduler(sigma_data=0.5, final_sigmas_type="zero"),
    ],
    ids=["ddim", "cogvideox", "edm"],
)
def test_as_the_scheduler_says(scheduler: Any) -> None:
    for step, _, before, after, film in walked(scheduler):
        weights = weights_of(scheduler, step)
        assert weights is not None
        assert film is not None
        shown = weights.before * before + weights.after * after
        torch.testing.assert_close(shown, film, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "scheduler",
    [
        parts.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        parts.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        parts.HeliosScheduler(stages=1, stage_range=[0, 1]),
    ],
    ids=["unipc", "dpm++", "helios"],
)
def test_what_a_multistep_solver_holds(scheduler: Any) -> None:
    for step, output, before, _, _ in walked(scheduler):
        held = held_estimate(scheduler)
        assert held is not None
        film = before - scheduler.sigmas[step] * output
        torch.testing.assert_close(held, film.to(held))


def test_a_step_that_adds_noise_tells_nothing() -> None:
    for scheduler in (
        flow(stochastic_sampling=True),
        parts.HeliosScheduler(stages=1, stage_range=[0, 1], scheduler_type="dmd"),
        parts.EulerAncestralDiscreteScheduler(),
    ):
        scheduler.set_timesteps(STEPS)
        assert held_estimate(scheduler) is None
        assert weights_of(scheduler, 1) is None


@pytest.mark.slow
def test_a_solver_that_holds_noise_is_not_shown() -> None:
    scheduler = parts.UniPCMultistepScheduler(predict_x0=False)
    for _ in walked(scheduler):
        assert held_estimate(scheduler) is None
