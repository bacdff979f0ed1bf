"""Capture and transfer specs: what may be said, and steps and layers made plain numbers."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.attention import (
    Anchor,
    CaptureSpec,
    Preset,
    Region,
    StepRange,
    TransferSpec,
    resolve_indices,
    resolve_steps,
)
from schemas.base import Frozen
from schemas.errors import InvalidRequest

REFUSED: list[tuple[type[Frozen], dict[str, Any], str]] = [
    (CaptureSpec, {"form": "pictures"}, "form"),
    (CaptureSpec, {"form": None}, "needs max_bytes"),
    (CaptureSpec, {"form": "latents", "codec": "int8"}, "not offered for form latents"),
    (CaptureSpec, {"layers": []}, "at least 1 item"),
    (CaptureSpec, {"layers": [-1]}, "greater than or equal to 0"),
    (CaptureSpec, {"branches": ["cond", "uncond", "cond"]}, "at most 2 items"),
    (CaptureSpec, {"max_bytes": 0}, "greater than or equal to 1"),
    (CaptureSpec, {"ttl_s": 59}, "greater than or equal to 60"),
    (StepRange, {"start": 5, "stop": 5}, "must be greater than start"),
    (TransferSpec, {"strength": 1.1}, "less than or equal to 1"),
    (TransferSpec, {"strength": float("nan")}, "finite number"),
    (TransferSpec, {"strength_end": -0.1}, "greater than or equal to 0"),
    (TransferSpec, {"preset": "sepia"}, "preset"),
    (TransferSpec, {"layer": [3]}, "Extra inputs"),
    (Preset, {"steps": 0}, "greater than 0"),
    (Region, {"threshold": float("nan")}, "finite number"),
    (Region, {"growth": -1}, "greater than or equal to 0"),
    (Region, {"max_share": 0}, "greater than 0"),
    (Anchor, {"region": {"share": 0.5}}, "Extra inputs"),
]


@pytest.mark.parametrize(("model", "value", "match"), REFUSED)
def test_a_value_that_is_not_allowed(model: type[Frozen], value: Any, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        model.model_validate(value)


def test_an_empty_spec_is_everything() -> None:
    assert (TransferSpec().layers, TransferSpec().steps, TransferSpec().strength) == (None, None, 1)
    assert (CaptureSpec().form, CaptureSpec().codec) == ("hidden", "zipnn")


def test_steps_become_numbers() -> None:
    assert resolve_steps(None, 3, "steps") == (0, 1, 2)
    assert resolve_steps(StepRange(start=1, stop=3), 3, "steps") == (1, 2)
    assert resolve_steps((2, 0, 2), 3, "steps") == (0, 2)


@pytest.mark.parametrize("steps", [StepRange(start=1, stop=4), StepRange(start=5, stop=9), (3,)])
def test_steps_beyond_the_run_are_refused(steps: Any) -> None:
    with pytest.raises(InvalidRequest, match="is not one of 0 to 2") as refused:
        resolve_steps(steps, 3, "transfer.steps")
    assert refused.value.param == "transfer.steps"


def test_indices_are_sorted_without_repeats() -> None:
    assert resolve_indices((2, 1, 2), 3, "layers") == (1, 2)
    assert resolve_indices(None, 2, "layers") == (0, 1)


@pytest.mark.parametrize(("share", "stop"), [(1.0, None), (0.5, 10), (0.01, 1)])
def test_a_presets_steps_are_a_share_of_the_run(share: float, stop: int | None) -> None:
    assert Preset(steps=share).stop(20) == stop
