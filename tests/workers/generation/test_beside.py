"""A source that was never stored runs beside its anchored edit: once, and a step at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.attention import Anchor
from schemas.errors import JobCancelled
from schemas.recipes import Recipe
from schemas.selection import resolve_recipe
from tests import tiny
from tests.workers.bench import Bench
from workers.attention.maps import Address
from workers.generation import beside
from workers.generation.denoise import Generated, StepInfo
from workers.generation.generate import generate
from workers.models.pipelines import LoadedModel

STEPS = 4
ANCHOR = Anchor(interval=2)


@pytest.fixture(scope="module", params=[8 << 30, 1000, 0], ids=["all", "a layer", "none"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """``replay_bytes``: room for the hidden states of all layers of a step, of one, of none."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    return Bench(tiny.load(tiny.wan(), folder, replay_bytes=request.param))


@pytest.fixture
def edit(bench: Bench) -> Recipe:
    source = bench.recipe("a car", num_inference_steps=STEPS)
    return bench.edit(source, "some dog", anchor=ANCHOR)


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> list[beside.StepMaps]:
    """Those of the runs that a test makes."""
    made: list[beside.StepMaps] = []

    class Watched(beside.StepMaps):
        def __init__(self) -> None:
            super().__init__()
            self.most_steps = 0
            made.append(self)

        def put(self, *args: Any) -> None:
            super().put(*args)
            steps = {at.step for at, name in self.tensors if not name.startswith("condition")}
            self.most_steps = max(self.most_steps, len(steps))

    monkeypatch.setattr(beside, "StepMaps", Watched)
    return made


def render(model: LoadedModel, recipe: Recipe, on_step: Any = None) -> Generated:
    return generate(model, resolve_recipe(recipe, model.card), on_step=on_step)


def test_it_is_the_edit_from_stored_maps(bench: Bench, edit: Recipe) -> None:
    assert edit.source is not None
    maps, _ = bench.captured(edit.source, "hidden")
    assert torch.equal(bench.latents_of(edit), bench.latents_of(edit, transfer_from=maps))


def test_one_step_of_the_source_is_held_at_a_time(
    bench: Bench, edit: Recipe, maps: list[Any]
) -> None:
    render(bench.model, edit)
    (kept,) = maps
    assert kept.most_steps == 1
    held = {address.layer for address, name in kept.tensors if name == "hidden"}
    assert not held, "step 3 is not computed by the edit"
    assert (Address(STEPS - 1, "cond", -1), "output") in kept.tensors


def test_the_cost_is_the_sources_run_and_the_edits_few_calls(bench: Bench, edit: Recipe) -> None:
    """Layers whose states do not fit are computed again, up to the last of them."""
    again = {8 << 30: 0, 1000: 2, 0: 3}[bench.model.settings.replay_bytes] / 3
    made = render(bench.model, edit)
    assert made.passes == pytest.approx(2 * STEPS + 2 * (1 + again))


def test_steps_are_told_in_turn(bench: Bench, edit: Recipe) -> None:
    told: list[tuple[bool, int, int]] = []

    def tell(info: StepInfo) -> None:
        done = info.steps_before + info.step + 1
        told.append((info.own, done, info.steps_before + info.total + info.steps_behind))

    render(bench.model, edit, tell)
    assert [done for _, done, _ in told] == list(range(1, 2 * STEPS + 1))
    assert {total for _, _, total in told} == {2 * STEPS}
    assert [own for own, _, _ in told] == [False, True] * STEPS


@pytest.mark.parametrize("at", [1, 2, 5, 2 * STEPS])
def test_a_stopped_edit_leaves_nothing_behind(bench: Bench, edit: Recipe, at: int) -> None:
    count = 0

    def stop(_: StepInfo) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise JobCancelled("stopped")

    with pytest.raises(JobCancelled):
        render(bench.model, edit, stop)
    assert bench.model.hooks.current is None
    whole = render(bench.model, edit)
    assert (whole.frames == render(bench.model, edit).frames).all()


def test_a_failure_of_the_source_is_the_edits(
    bench: Bench, edit: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(beside.StepMaps, "put", broken)
    with pytest.raises(torch.OutOfMemoryError):
        render(bench.model, edit)
    assert bench.model.hooks.current is None
