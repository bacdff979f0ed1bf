"""Whole analyses of every kind on the tiny Wan: results, figures, page, progress and refusals."""

import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.analyses import AnalysisSpec
from schemas.analysis_cost import PROPOSALS, estimate_analysis
from schemas.attention import Anchor
from schemas.errors import InvalidRequest
from schemas.recipes import Recipe
from tests import tiny
from tests.workers.bench import Bench, stored_attention
from workers.analysis.interventions.edit_videos import Scorer
from workers.analysis.interventions.sweep import PROPOSALS as SWEPT_PROPOSALS
from workers.analysis.interventions.videos import most_in_a_batch
from workers.analysis.results import AnalysisResult
from workers.analysis.run import run_analysis
from workers.models.pipelines import LoadedModel

KINDS = ["structure", "sparsity", "sinks", "layer_sweep"]


def spec_for(bench: Bench, kind: str, **fields: Any) -> AnalysisSpec:
    source, other = bench.recipe(), bench.recipe(seed=8)
    sources: list[Recipe] = [source, other]
    if kind == "layer_sweep":
        sources = [bench.edit(source, "some dog"), bench.edit(other, "red")]
    if kind == "sparsity":
        fields = {"causal": {"densities": [0.5, 0.2], "control": True}} | fields
    if kind == "sinks":
        fields = {"ablations": {"sinks": 2, "controls": 2}} | fields
    values: dict[str, Any] = {"kind": kind, "sources": sources, "sampling": {"rows": None}}
    return AnalysisSpec.model_validate(values | fields)


class Kept:
    """Every kind's result, made once for all checks."""

    def __init__(self, model: LoadedModel) -> None:
        self.bench = Bench(model)
        self._results: dict[str, AnalysisResult] = {}
        self.progress: dict[str, list[tuple[int, int]]] = {}

    def result(self, kind: str) -> AnalysisResult:
        if kind not in self._results:
            heard: list[tuple[int, int]] = []
            self.progress[kind] = heard
            self._results[kind] = run_analysis(
                lambda _: self.bench.model,
                spec_for(self.bench, kind),
                on_progress=lambda *each: heard.append(each),
            )
        return self._results[kind]


@pytest.fixture(scope="module")
def kept(model: LoadedModel) -> Kept:
    return Kept(model)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_the_result_is_json_with_named_axes(self, kept: Kept, kind: str) -> None:
        result = kept.result(kind)
        read = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert read["kind"] == kind
        tables = [(each["coordinates"], table) for each in read["sources"]
                  for table in each["measures"].values()]  # fmt: skip
        if read["experiment"] is not None:
            tables.append((read["experiment"]["coordinates"], read["experiment"]["measures"]))
        assert tables
        for coordinates, measures in tables:
            assert measures
            for name, measure in measures.items():
                values = np.array(measure["values"], dtype=object)
                lengths = [len(coordinates[axis]) for axis in measure["axes"]]
                assert list(values.shape) == lengths, name
                assert measure["unit"], name
                assert len(measure["definition"]) > 10, name
        for name, measure in read["comparisons"].items():
            assert np.array(measure["values"], dtype=object).ndim == len(measure["axes"]), name

    def test_every_figure_is_a_picture(self, kept: Kept, kind: str) -> None:
        figures = kept.result(kind).figures
        assert len(figures) >= 3
        for name, data in figures.items():
            image = Image.open(io.BytesIO(data))
            assert image.format == "PNG", name
            assert image.width > 200, name
            colours = image.convert("RGB").getcolors(1 << 24)
            assert colours is not None
            assert len(colours) > 10, f"{name} shows something"

    def test_the_page_holds_all(self, kept: Kept, kind: str) -> None:
        result = kept.result(kind)
        page = Page(result.report)
        assert len(page.images) == len(result.figures)
        assert all(each.startswith("data:image/png;base64,") for each in page.images)
        assert not page.outside, "it refers to nothing outside itself"
        assert "script" not in page.tags
        for source in result.sources:
            for measures in source.measures.values():
                for name in measures:
                    assert name in page.text
        for recipe in result.spec.sources:
            assert recipe.generation.prompt in page.text

    def test_progress_is_known_from_the_first_step_on(self, kept: Kept, kind: str) -> None:
        kept.result(kind)
        heard = kept.progress[kind]
        assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
        (total,) = {total for _, total in heard}
        assert len(heard) <= total
        assert len(heard) >= total - 2 * PROPOSALS * tiny.STEPS
        if kind != "layer_sweep":
            assert len(heard) == total

    def test_it_can_be_stopped(self, kept: Kept, kind: str) -> None:
        class Stop(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done == 4:
                raise Stop

        bench = kept.bench
        with pytest.raises(Stop):
            run_analysis(lambda _: bench.model, spec_for(bench, kind), on_progress=stop)
        assert bench.model.hooks.current is None

    def test_videos_are_those_of_the_estimate(
        self, kept: Kept, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One at a time, so that steps tell how many were made."""
        bench = kept.bench
        fields: dict[str, Any] = {"layers": [0, 1], "steps": [0]}
        if kind == "layer_sweep":
            fields = {"layers": [0, 1, 2]}
        spec = spec_for(bench, kind, **fields)
        made = estimate_analysis(spec, {bench.model.card.id: bench.model.card})
        monkeypatch.setattr("workers.analysis.run.most_in_a_batch", lambda _: 1)
        monkeypatch.setattr("workers.analysis.interventions.videos.most_in_a_batch", lambda _: 1)
        totals: list[int] = []
        with pytest.raises(Counted):
            run_analysis(lambda _: bench.model, spec, on_progress=count_into(totals))
        measured = 0 if kind == "layer_sweep" else len(spec.sources)
        assert totals == [made.videos * tiny.STEPS + measured]


class Counted(Exception):
    pass


def count_into(totals: list[int]) -> Callable[[int, int], None]:
    def count(done: int, total: int) -> None:
        totals.append(total)
        raise Counted

    return count


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.tags: set[str] = set()
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if tag == "img" and name == "src":
                self.images.append(value or "")
            elif name in ("src", "href"):
                self.outside.append(value or "")


def test_proposals_are_counted_alike() -> None:
    assert PROPOSALS == SWEPT_PROPOSALS


def test_sampled_rows_have_intervals(kept: Kept) -> None:
    bench = kept.bench
    large = [each.model_copy(update={"generation": each.generation.model_copy(
        update={"width": 64, "height": 64, "num_frames": 17})}) for each in (
            bench.recipe(), bench.recipe(seed=8))]  # fmt: skip
    spec = AnalysisSpec(kind="structure", sources=tuple(large), sampling={"rows": 16}, steps=(0,))
    result = run_analysis(lambda _: bench.model, spec)
    share = result.sources[0].measures["structure"]["own_frame_share"]
    assert share.low is not None
    assert (share.low <= share.values).all()
    assert result.comparisons["overlap_of_sources"].low is not None


def test_models_of_other_grids_are_compared_by_boxes(kept: Kept, tmp_path: Path) -> None:
    bench = kept.bench
    other = tiny.load(tiny.wan(seed=3), tmp_path, id="other")
    models = {bench.model.card.id: bench.model, "other": other}
    wide = tiny.recipe(other, width=64)
    spec = AnalysisSpec(kind="structure", sources=(bench.recipe(), wide), steps=(0, 2))
    result = run_analysis(lambda recipe: models[recipe.generation.model], spec)
    assert "overlap_of_sources" not in result.comparisons, "heads of two models do not correspond"
    between = result.comparisons["overlap_of_layers_0_1"]
    assert between.values.shape == (2, 3, 3)
    assert ((between.values > 0) & (between.values < 1)).all()
    same = result.comparisons["overlap_of_layers_0_0"].values
    assert same.diagonal(0, 1, 2) == pytest.approx(1, abs=1e-5)


def test_stored_attention_spares_the_run(kept: Kept) -> None:
    bench = kept.bench
    source = bench.recipe()
    maps, _ = bench.captured(source, "hidden")
    spec = AnalysisSpec(kind="sinks", sources=(source,), steps=(2,))
    heard: list[tuple[int, int]] = []
    stored = run_analysis(
        lambda _: bench.model,
        spec,
        stored=[stored_attention(maps)],
        on_progress=lambda *each: heard.append(each),
    )
    assert heard == [(1, 1)]
    rerun = run_analysis(lambda _: bench.model, spec)
    for name, measure in rerun.sources[0].measures["sinks"].items():
        ours = stored.sources[0].measures["sinks"][name].values
        assert np.allclose(ours, measure.values, rtol=1e-3, atol=1e-4), name


def test_an_anchored_edit_can_be_analysed(kept: Kept) -> None:
    bench = kept.bench
    edit = bench.edit(bench.recipe(), "some dog", anchor=Anchor(interval=2))
    result = run_analysis(lambda _: bench.model, AnalysisSpec(kind="structure", sources=(edit,)))
    assert result.sources[0].run.steps == (0, 2)
    assert result.sources[0].run.branches == ("cond",)


def test_scorers_add_measures(kept: Kept) -> None:
    bench = kept.bench
    scorer = Scorer("1", "how bright the edit is", lambda edit, *_: float(edit.mean()))
    spec = spec_for(bench, "layer_sweep", layers=[0, 1])
    result = run_analysis(lambda _: bench.model, spec, scorers={"light": scorer})
    assert result.experiment is not None
    assert result.experiment.measures["light"].values.shape == (2, len(
        result.experiment.coordinates["setting"]
    ))  # fmt: skip


def test_what_the_model_has_not_is_refused_before_anything_runs(kept: Kept) -> None:
    bench = kept.bench
    heard: list[int] = []
    spec = spec_for(bench, "sinks", layers=[7])
    with pytest.raises(InvalidRequest, match="layers: 7 is not one of 0 to 2"):
        run_analysis(lambda _: bench.model, spec, on_progress=lambda done, _: heard.append(done))
    assert not heard


def test_a_batch_holds_what_family_and_settings_allow(model: LoadedModel) -> None:
    assert most_in_a_batch(model) == min(model.family.max_batch, model.settings.replay_rows)
