"""The bench's batched transfer is the method: own maps change nothing, another prompt's do."""

from __future__ import annotations

import pytest

from training.exchange import Choice, Exchange
from training.sampling import Settings, generate
from training.stock import Pipeline

TINY = Settings(num_inference_steps=3, height=32, width=32, num_frames=5)
A, B = "A car is driving on the highway.", "A red dog is running on the grass."


@pytest.mark.slow
def test_own_maps_change_nothing_and_another_prompts_do(tiny: Pipeline) -> None:
    exchange = Exchange(tiny.transformer, TINY.num_inference_steps)
    with exchange.capturing():
        source = generate(tiny, [A, A], [0, 1], TINY)
    with exchange.transferring([None, Choice(), Choice(), Choice(strength=0.0)]):
        rows = generate(tiny, [B, B, A, A, B, B, B, B], [0, 1] * 4, TINY)
    plain, other = rows[:2], rows[4:6]
    assert (rows[2:4] - source).abs().max() < 1e-5, "own maps"
    assert (plain - other).abs().max() > 1e-3, "another prompt's maps"
    assert (plain - rows[6:]).abs().max() < 1e-6, "strength 0 is no transfer"
    assert (plain - source).abs().max() > 1e-3


def test_a_choice_says_where_it_acts() -> None:
    choice = Choice(steps=(1, 4), layers=(2,), branches=("cond",), strength_end=0.0)
    assert choice.strength_at(1, 2, "cond", 10) == 1.0
    assert choice.strength_at(2, 2, "cond", 10) == 0.5
    assert choice.strength_at(3, 2, "cond", 10) == 0.0
    for step, layer, branch in ((0, 2, "cond"), (4, 2, "cond"), (1, 1, "cond"), (1, 2, "uncond")):
        assert choice.strength_at(step, layer, branch, 10) == 0.0  # type: ignore[arg-type]  # literals
    assert Choice(source_branch="cond").read_from("uncond") == "cond"
    assert Choice().read_from("uncond") == "uncond"


def test_a_run_of_another_length_is_refused(tiny: Pipeline) -> None:
    exchange = Exchange(tiny.transformer, steps=5)
    with pytest.raises(RuntimeError, match="expected 10 calls"), exchange.capturing():
        generate(tiny, [A], [0], TINY)
