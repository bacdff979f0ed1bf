"""What a card offers is what the pipeline takes: sizes, frames and steps, on every real class."""

from typing import Any

import pytest

from schemas.models import IntRange
from schemas.recipes import Recipe
from tests.workers.bench import generate
from tests.workers.families.cases import Case, Runs
from workers.generation.denoise import StepInfo

OFFERED = {
    "minimum": lambda allowed: allowed.minimum,
    "a step above it": lambda allowed: allowed.minimum + allowed.step,
    "middle": lambda allowed: (
        (allowed.minimum + allowed.maximum) // 2 // allowed.step * allowed.step + allowed.offset
    ),
}


class Accepted(Exception):
    """The pipeline has checked its inputs, made its latents and called its transformer."""


def value_of(allowed: IntRange, which: str) -> int:
    if allowed.minimum == allowed.maximum:
        return allowed.minimum
    return allowed.check(OFFERED[which](allowed), which)


def asked_of(runs: Runs, which: str) -> Recipe:
    card = runs.model.card
    return runs.recipe(
        "a car",
        width=value_of(card.width_range, which),
        height=value_of(card.height_range, which),
        num_frames=value_of(card.num_frames, which),
        num_inference_steps=value_of(card.num_inference_steps, which),
    )


@pytest.mark.parametrize("which", OFFERED)
def test_what_is_offered_is_accepted(runs: Runs, which: str) -> None:
    """By the pipeline's own ``check_inputs``, its scheduler, and the transformer's shapes."""
    recipe = asked_of(runs, which)

    def stop(*_: Any) -> None:
        raise Accepted

    first = runs.model.family.transformers_of(runs.model.pipeline)[0]
    with first.register_forward_hook(stop), pytest.raises(Accepted):
        generate(runs.model, recipe)


def test_the_least_that_is_offered_is_made(runs: Runs, case: Case) -> None:
    recipe = asked_of(runs, "minimum")
    made = recipe.generation
    steps: list[StepInfo] = []
    frames = generate(runs.model, recipe, on_step=steps.append)
    assert frames.shape == (made.num_frames, made.height, made.width, 3)
    assert {info.total for info in steps} == {made.num_inference_steps}


def test_both_ends_of_a_range_can_be_asked_for(runs: Runs) -> None:
    card = runs.model.card
    for allowed in (card.width_range, card.height_range, card.num_frames):
        assert allowed.check(allowed.minimum, "end") == allowed.minimum
        assert allowed.check(allowed.maximum, "end") == allowed.maximum
