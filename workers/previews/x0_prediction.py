"""The clean film that a step has in sight: what the model takes the noise to hide.

Latents are noise for most of a run; this estimate is a blurred film from early on. It is read off
the scheduler and two successive latents, and costs no call of the transformer.
"""

from typing import Any, NamedTuple

from torch import Tensor

# schedulers are untyped, and what attributes one has depends on its class
Scheduler = Any
_EULER = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMapEulerDiscreteScheduler",
    "EDMEulerScheduler",
    "HeliosScheduler",
)
_DDIM = ("DDIMScheduler", "CogVideoXDDIMScheduler")


class Weights(NamedTuple):
    """The clean film is ``before`` times the latents before a step plus ``after`` times those
    behind it."""

    before: float
    after: float


AS_THEY_ARE = Weights(0.0, 1.0)


def held_estimate(scheduler: Scheduler) -> Tensor | None:
    """The estimate that a multistep solver (UniPC, DPM++) holds, laid out as the latents; None
    where it holds none."""
    outputs = getattr(scheduler, "model_outputs", None)
    newest = outputs[-1] if outputs else None
    config = scheduler.config
    predicts = config.get("predict_x0") or "dpmsolver++" in config.get("algorithm_type", "")
    return newest if predicts and isinstance(newest, Tensor) else None


def weights_of(scheduler: Scheduler, step: int) -> Weights | None:
    """How the clean film follows from the latents around ``step`` (from 0).

    None where a step adds noise of its own, or the scheduler is not known here.
    """
    name, config = type(scheduler).__name__, scheduler.config
    straight = config.get("scheduler_type", "euler") == "euler"  # Helios' has three kinds
    if name in _EULER and straight and not config.get("stochastic_sampling"):
        return _euler(scheduler, step)
    if name in _DDIM:
        return _ddim(scheduler, step)
    return None


def _euler(scheduler: Scheduler, step: int) -> Weights | None:
    """An Euler step goes along a straight line over sigma, which ends in the clean film.

    Sigma ends at 0, or at 1 where it counts backwards (Mochi).
    """
    here, there, end = (float(scheduler.sigmas[place]) for place in (step, step + 1, -1))
    if here == there:
        return None
    further = (end - there) / (there - here)
    return Weights(-further, 1 + further)


def _ddim(scheduler: Scheduler, step: int) -> Weights | None:
    """Both latents are a·film + b·noise of the same film and noise (arXiv 2010.02502, eq. 12)."""
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    here = int(scheduler.timesteps[step])
    alphas, there = scheduler.alphas_cumprod, here - stride
    kept = float(alphas[here])
    kept_after = float(alphas[there] if there >= 0 else scheduler.final_alpha_cumprod)
    film, noise = kept**0.5, (1 - kept) ** 0.5
    film_after, noise_after = kept_after**0.5, (1 - kept_after) ** 0.5
    mixed = film * noise_after - film_after * noise
    return Weights(noise_after / mixed, -noise / mixed) if mixed else None
