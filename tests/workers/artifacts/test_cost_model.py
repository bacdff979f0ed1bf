"""Loading or rerunning is decided by what was costs, and by a fixed order until then."""

import pytest

from schemas.artifacts import Manifest
from schemas.capture_plan import Needed
from tests.storage.manifests import artifact
from tests.workers.artifacts.captures import PROJECT, everything, plan, recipe, write
from workers.artifacts.cost_model import (
    CostModel,
    StepClock,
    ThroughputMeter,
    expected_s,
    read_bytes,
    soonest,
)
from workers.artifacts.store import ArtifactStore

GENERATION = recipe().generation  # 4 steps
NEEDED = Needed(frozenset({0, 1}), frozenset(range(4)), frozenset({"cond", "uncond"}))


def made(form: str, megabytes: int) -> Manifest:
    """An artifact of 8 layers whose frames for NEEDED have ``megabytes`` in all."""
    base = artifact()
    frame = base.packs[0].frames[0].model_copy(update={"size": megabytes << 20})
    pack = base.packs[0].model_copy(update={"frames": (frame,)})
    return base.model_copy(
        update={
            "form": form,
            "recipe": recipe(),
            "layers": tuple(range(8)),
            "steps": tuple(range(4)),
            "branches": ("cond", "uncond"),
            "packs": (pack,),
            "stored_bytes": megabytes << 20,
        }
    )


def costs(step_s: float, megabytes_per_s: int) -> CostModel:
    found = CostModel()
    found.note_step(GENERATION, step_s)
    found.note_read(megabytes_per_s << 20, 1.0)
    return found


HIDDEN, QK, LATENTS = made("hidden", 400), made("qk", 800), made("latents", 1)
ALL = (LATENTS, QK, HIDDEN)


def test_before_anything_is_measured_hidden_is_preferred() -> None:
    assert soonest(ALL, NEEDED, CostModel()) is HIDDEN
    assert soonest((LATENTS, QK), NEEDED, CostModel()) is QK


@pytest.mark.parametrize(
    ("bandwidth", "form"),
    # 4 s plain; rerunning the first of 8 layers makes it 4.5; hidden loads 400 MB
    [(1000, "hidden"), (89, "hidden"), (88, "latents"), (10, "latents")],
)
def test_hidden_until_loading_takes_longer_than_rerunning(bandwidth: int, form: str) -> None:
    assert soonest(ALL, NEEDED, costs(1.0, bandwidth)).form == form


def test_of_equal_seconds_the_preferred_form() -> None:
    assert soonest((QK, HIDDEN), NEEDED, costs(10.0, 1000)) is HIDDEN


def test_expected_seconds() -> None:
    at = costs(1.0, 50)
    assert expected_s(HIDDEN, NEEDED, at) == pytest.approx(8)
    assert expected_s(HIDDEN, NEEDED._replace(passes=2), at) == pytest.approx(16)
    assert expected_s(LATENTS, NEEDED, at) == pytest.approx(4.5)
    fewer = NEEDED._replace(steps=frozenset({0}), branches=frozenset({"cond"}))
    assert expected_s(LATENTS, fewer, at) == pytest.approx(4 + 4 * 1 / 8 / 4 / 2)
    assert expected_s(HIDDEN, NEEDED, CostModel()) is None


def test_only_what_is_needed_counts(store: ArtifactStore) -> None:
    manifest, _ = write(store, plan(codec="raw"))
    tensor = 48 * 64 * 2
    assert read_bytes(manifest, everything(plan())) == 24 * tensor
    assert read_bytes(manifest, everything(plan(layers=(1,), steps=(0, 2)))) == 4 * tensor


def test_measures_while_it_works(store: ArtifactStore) -> None:
    manifest, _ = write(store, plan())
    assert store.find(PROJECT, recipe().key(PROJECT), everything(plan())) == manifest
    assert store._costs.step_s(GENERATION) is not None
    assert store._costs.step_s(recipe(width=64).generation) is None


class TestClock:
    @pytest.fixture(autouse=True)
    def _time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("workers.artifacts.cost_model.time.monotonic", lambda: self.now)

    def test_steps_without_what_they_waited(self) -> None:
        found = CostModel()
        clock = StepClock(found, GENERATION)
        for step in (0, 0, 2):
            clock.at(step)
            self.now += 3
            clock.add_wait(1)
        assert found.step_s(GENERATION) == pytest.approx(2), "two steps in 6 s, 2 of them waiting"

    def test_threads_that_read_together(self) -> None:
        found = CostModel()
        busy = ThroughputMeter(found)
        with busy.moving(100):
            self.now += 1
            with busy.moving(50):
                self.now += 1
        assert found.bytes_per_s == pytest.approx(75)
