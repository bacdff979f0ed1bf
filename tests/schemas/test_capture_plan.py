"""Capture plans: their keys never change, and say all that is kept."""

import pytest

from schemas.capture_plan import CapturePlan, Needed
from tests.schemas.records import HIDDEN, HIDDEN_KEY, LATENTS, LATENTS_KEY


def test_capture_keys_are_what_they_always_were() -> None:
    """They name artifacts: another key is a lost artifact."""
    assert HIDDEN.key() == HIDDEN_KEY
    assert LATENTS.key() == LATENTS_KEY


@pytest.mark.parametrize(
    "change",
    [
        {"form": "qk"},
        {"codec": "raw"},
        {"layers": (0, 1)},
        {"steps": (0,)},
        {"branches": ("cond",)},
        {"hidden_layers": (2,)},
        {"outputs": True},
    ],
)
def test_all_that_is_kept_is_in_the_capture_key(change: dict[str, object]) -> None:
    assert HIDDEN.model_copy(update=change).key() != HIDDEN_KEY


def test_every_field_was_tried() -> None:
    tried = {"form", "codec", "layers", "steps", "branches", "hidden_layers", "outputs"}
    assert tried | {"made_by"} == set(CapturePlan.model_fields)


def test_versions_are_in_the_key_where_they_compute_again() -> None:
    aged = {"made_by": "diffusers 1.0"}
    assert HIDDEN.model_copy(update=aged).key() == HIDDEN_KEY
    assert LATENTS.model_copy(update=aged).key() != LATENTS_KEY


def test_an_edit_needs_layers_steps_and_branches() -> None:
    everything = Needed(frozenset({0, 2}), frozenset({0, 1, 2}), frozenset({"cond", "uncond"}))
    assert HIDDEN.covers(everything)
    for lacking in (
        HIDDEN.model_copy(update={"layers": (0, 1)}),
        HIDDEN.model_copy(update={"steps": (0, 1)}),
        HIDDEN.model_copy(update={"branches": ("cond",)}),
    ):
        assert not lacking.covers(everything)
    assert not HIDDEN.covers(everything._replace(outputs=True))


def test_from_latents_any_layer_is_recomputed_that_is_not_kept() -> None:
    needed = Needed(frozenset({0, 2}), frozenset({0}), frozenset({"cond"}))
    plan = LATENTS.model_copy(update={"hidden_layers": (2,)})
    assert plan.covers(needed)
    assert plan.recomputed_layers(needed) == {0}
    assert HIDDEN.recomputed_layers(needed) == frozenset()


def test_what_is_held_of_a_layer() -> None:
    assert HIDDEN.holds("hidden", 2, 0)
    assert not HIDDEN.holds("hidden", 3, 0)
    assert not HIDDEN.holds("hidden", 2, 3)
    assert not HIDDEN.holds("qk", 2, 0)
    assert LATENTS.holds("hidden", 2, 0)
