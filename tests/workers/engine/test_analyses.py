"""What an analysis finds, on a tiny random Wan: from stored attention or run again, the same."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from schemas.analyses import AnalysisSpec
from schemas.attention import CaptureSpec, TransferSpec
from schemas.errors import JobCancelled, Unsupported, UploadMissing
from schemas.jobs import Job, JobSpec, JobState
from schemas.recipes import Recipe
from tests import tiny
from tests.workers.engine.engines import open_engine
from tests.workers.engine.stores import Moody
from tests.workers.engine.test_engine import unheard_step
from tests.workers.engine.test_films import edit_of, film_recipe, video_file
from workers.control.engine_protocol import AnalysedAttention
from workers.engine.engine import PipelineEngine
from workers.models.rank_group import RankGroup
from workers.settings import WorkerSettings


class Bench:
    """An engine, and what it has heard of the steps that it ran."""

    def __init__(self, engine: PipelineEngine, objects: Moody) -> None:
        self.engine, self.objects = engine, objects
        self.steps: list[tuple[int, int]] = []

    def recipe(self, prompt: str = "a car", **changes: Any) -> Recipe:
        return tiny.recipe(self.engine.model("tiny"), prompt, **changes)

    def capture(self, recipe: Recipe, **spec: Any) -> None:
        job = JobSpec(
            id="video_00000001",
            project="tests",
            recipe=recipe,
            source_key=recipe.key("tests"),
            edit_source_key=recipe.source.key("tests") if recipe.source else None,
            capture=CaptureSpec(scope="everything", **spec),
            created_at=0,
        )
        video = self.engine.render(Job(spec=job, state=JobState(fence=1)), unheard_step)
        assert video.captured is not None
        assert video.captured.publish()

    def analyse(self, *sources: Recipe, **fields: Any) -> AnalysedAttention:
        spec = AnalysisSpec.model_validate(
            {"kind": "structure", "sources": sources, "sampling": {"rows": None}, **fields}
        )
        job = JobSpec(
            id="analysis_00000001",
            project="tests",
            recipe=sources[0],
            source_key=sources[0].key("tests"),
            created_at=0,
            analysis=spec,
            source_video_ids=(None,) * len(sources),
        )
        self.steps.clear()
        return self.engine.analyse(Job(spec=job, state=JobState(fence=1)), self._on_step)

    def _on_step(self, done: int, total: int) -> None:
        self.steps.append((done, total))


@pytest.fixture
def bench(model_folder: Path, settings: WorkerSettings, tmp_path: Path) -> Iterator[Bench]:
    objects = Moody(tmp_path / "objects")
    engine = open_engine(model_folder, settings, objects, ids=("tiny", "twin"))
    yield Bench(engine, objects)
    engine.close()


def measures_of(found: AnalysedAttention) -> list[dict[str, Any]]:
    """Of each source."""
    result = json.loads(found.result)
    return [source["measures"][result["kind"]] for source in result["sources"]]


def check_same(one: AnalysedAttention, other: AnalysedAttention) -> None:
    for ours, theirs in zip(measures_of(one), measures_of(other), strict=True):
        assert set(ours) == set(theirs)
        for name in ours:
            if name in ("motion", "head_class", "token", "position", "sink_head"):
                continue  # they turn over with the last bit
            first, second = (np.array(each[name]["values"], dtype=float) for each in (ours, theirs))
            assert np.allclose(first, second, atol=1e-4, equal_nan=True), name


@pytest.mark.parametrize(
    ("kind", "form"),
    [("structure", "hidden"), ("sinks", "hidden"), ("sparsity", "hidden"), ("sparsity", "qk")],
)
def test_stored_attention_spares_the_run(bench: Bench, kind: str, form: str) -> None:
    source, other = bench.recipe(), bench.recipe("a dog")
    run = bench.analyse(source, other, kind=kind, steps=[2])
    assert run.stored_sources == ()
    assert bench.steps[-1] == (6, 6)
    bench.capture(other, form=form)
    stored = bench.analyse(source, other, kind=kind, steps=[2])
    assert stored.stored_sources == (1,)
    assert bench.steps[-1] == (4, 4), "one step of the run that is stored, three of the other"
    check_same(run, stored)
    assert stored.report.startswith(b"<!doctype html>")
    assert set(stored.figures) == set(run.figures)


@pytest.mark.parametrize(
    "spec",
    [
        {"form": "latents"},
        {"form": "qk"},  # which knows no values
        {"form": "hidden", "layers": [0]},
        {"form": "hidden", "steps": [0]},
        {"form": "hidden", "codec": "int8"},
    ],
    ids=str,
)
def test_what_is_not_all_there_without_loss_is_run(bench: Bench, spec: dict[str, Any]) -> None:
    source = bench.recipe()
    bench.capture(source, **spec)
    assert bench.analyse(source, steps=[2]).stored_sources == ()


def test_an_edit_is_read_or_made_again(bench: Bench) -> None:
    edit = Recipe(
        generation=bench.recipe("a dog").generation,
        source=bench.recipe(),
        transfer=TransferSpec(steps=(0, 1)),
    )
    run = bench.analyse(edit, steps=[2])
    bench.capture(edit, form="hidden")
    stored = bench.analyse(edit, steps=[2])
    assert (run.stored_sources, stored.stored_sources) == ((), (0,))
    check_same(run, stored)


@pytest.mark.parametrize("kind", ["structure", "sinks", "sparsity"])
def test_an_uploaded_film_is_run_or_read(bench: Bench, kind: str) -> None:
    """A film, its edit and a generation; what the edit stores of the film is then read."""
    source = film_recipe(bench.engine, video_file(), bench.objects)
    edit = edit_of(source, "a red car", film_capture=CaptureSpec(form="hidden"))
    steps = [0, 3]  # those that the edit computes
    run = bench.analyse(source, edit.spec.recipe, kind=kind, steps=steps)
    assert run.stored_sources == ()
    assert bench.steps[-1] == (8, 8)
    if kind == "sparsity":  # of maps alone, and those of the edit are the film's
        film, of_film = (np.array(each["retained_mass"]["values"]) for each in measures_of(run))
        assert np.allclose(film, of_film)
    bench.engine.render(edit, unheard_step)
    stored = bench.analyse(source, edit.spec.recipe, kind=kind, steps=steps)
    assert stored.stored_sources == (0,)
    check_same(run, stored)
    mixed = bench.analyse(source, Recipe(generation=source.generation), kind=kind, steps=[5])
    assert mixed.stored_sources == (0,)
    of_branches = [len(next(iter(each.values()))["values"]) for each in measures_of(mixed)]
    assert of_branches == [1, 2 if kind == "structure" else 1]


def test_what_a_films_analysis_sees_is_its_own_run(bench: Bench) -> None:
    """The film, its prompt and its noise each tell; the end of the path needs no computed step."""
    one = film_recipe(bench.engine, video_file(), bench.objects)
    other = film_recipe(bench.engine, video_file(sound=True), bench.objects)
    prompted = one.model_copy(
        update={"generation": one.generation.model_copy(update={"prompt": "a dog"})}
    )
    found = measures_of(bench.analyse(one, other, prompted, one, steps=[5]))
    shares = [each["own_frame_share"]["values"] for each in found]
    assert shares[0] == shares[1] == shares[3], "a tone is nothing that is seen"
    assert shares[0] != shares[2]


def test_a_film_that_is_gone_fails_the_analysis(bench: Bench) -> None:
    source = film_recipe(bench.engine, video_file(), None)
    for recipe in (source, edit_of(source, "a red car").spec.recipe):
        with pytest.raises(UploadMissing, match="deleted before this job"):
            bench.analyse(recipe)


def test_what_cannot_be_read_is_run(bench: Bench) -> None:
    source = bench.recipe()
    run = bench.analyse(source, steps=[2])
    bench.capture(source, form="hidden")
    bench.objects.down = True
    again = bench.analyse(source, steps=[2])
    assert again.stored_sources == ()
    assert again.result == run.result


def test_two_models_one_after_the_other(bench: Bench) -> None:
    """The engine has room for one of them at a time."""
    generation = bench.recipe().generation
    twin = bench.engine.model("twin").card
    changes = {"model": "twin", "fingerprint": twin.fingerprint}
    found = bench.analyse(
        bench.recipe(), Recipe(generation=generation.model_copy(update=changes)), steps=[0]
    )
    one, other = measures_of(found)
    assert one["own_frame_share"]["values"] == other["own_frame_share"]["values"]
    assert [source["model"] for source in json.loads(found.result)["sources"]] == ["tiny", "twin"]


def test_it_stops_where_it_is_told_to(bench: Bench) -> None:
    def stop(done: int, total: int) -> None:
        raise JobCancelled("the job was cancelled")

    bench._on_step = stop  # type: ignore[method-assign]
    with pytest.raises(JobCancelled):
        bench.analyse(bench.recipe())


def test_a_model_of_several_ranks_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = Recipe(
        generation=bench.recipe("a dog").generation,
        source=bench.recipe(),
        transfer=TransferSpec(),
    )
    spread = replace(bench.engine.model("tiny"), group=cast(RankGroup, object()))
    monkeypatch.setattr(bench.engine, "model", lambda id: spread)
    for kind, source in (("structure", bench.recipe()), ("layer_sweep", edit)):
        with pytest.raises(Unsupported, match="spread over several ranks") as refused:
            bench.analyse(source, kind=kind)
        assert refused.value.param == "model"
