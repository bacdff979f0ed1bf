"""Analyses as they are asked for: defaults, refusals that name the field, and what they cost."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.analyses import MAX_MAPS, AnalysedRun, AnalysisSpec, resolve_analysis
from schemas.analysis_cost import estimate_analysis
from schemas.attention import Anchor, TransferSpec
from schemas.errors import InvalidRequest, Unsupported
from schemas.films.film import Film
from schemas.models import IntRange, LatentGrid, ModelCard
from schemas.recipes import Generation, Recipe

ANY = IntRange(minimum=1, maximum=10_000, default=16)
GRID = LatentGrid(vae_stride=(4, 8, 8), patch=(1, 1, 1))
CARD = ModelCard(
    id="a", family="wan", fingerprint="f", revision="r", dtype="bfloat16", licence="apache-2.0",
    default_size="96x64", width_range=ANY, height_range=ANY, max_pixels=1 << 30, num_frames=ANY,
    num_inference_steps=ANY, fps=ANY, guidance_scale=2.0, layers=8, heads=4, width=256,
    grid=GRID, latent_channels=24,
)  # fmt: skip
OTHER = CARD.model_copy(update={"id": "b", "layers": 4})
LINEAR = CARD.model_copy(update={"id": "linear", "supports_transfer": False})
CARDS = {card.id: card for card in (CARD, OTHER, LINEAR)}
RUN = Generation(
    model="a", fingerprint="f", prompt="a car", negative_prompt="", seed=0, width=96, height=64,
    num_frames=17, num_inference_steps=20, guidance_scale=2.0, fps=8,
)  # fmt: skip


def source(**changes: Any) -> Recipe:
    return Recipe(generation=RUN.model_copy(update=changes))


def film() -> Recipe:
    return Recipe(generation=RUN, film=Film(sha256="0" * 64, fps=8))


def edit(of: Recipe | None = None, **transfer: Any) -> Recipe:
    generation = RUN.model_copy(update={"prompt": "a red car"})
    return Recipe(generation=generation, source=of or source(), transfer=TransferSpec(**transfer))


def resolved(kind: str = "structure", *sources: Recipe, **fields: Any) -> tuple[AnalysedRun, ...]:
    spec = AnalysisSpec.model_validate({"kind": kind, "sources": sources or (source(),), **fields})
    return resolve_analysis(spec, CARDS)


def test_all_is_what_is_not_named() -> None:
    (run,) = resolved()
    assert run.layers == tuple(range(8))
    assert run.heads == tuple(range(4))
    assert run.branches == ("cond", "uncond")
    assert run.grid == (5, 8, 12)
    assert run.steps == (0, 5, 10, 14, 19), "five, evenly spaced, the first and the last among them"
    assert run.maps == 8 * 4 * 2 * 5


def test_choices_are_kept() -> None:
    (run,) = resolved(
        layers=[3, 1, 3], heads=[0], steps={"start": 18, "stop": 20}, branches=["uncond"]
    )
    assert (run.layers, run.heads, run.steps) == ((1, 3), (0,), (18, 19))
    assert run.branches == ("uncond",)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_short_runs_have_fewer_steps(steps: int) -> None:
    first, second = resolved("structure", source(num_inference_steps=steps), source())
    assert first.steps == tuple(range(steps))
    assert len(second.steps) == steps
    assert second.steps[0] == 0
    assert second.steps[-1] == (19 if steps > 1 else 0)


def test_an_anchored_edit_has_attention_where_it_computes() -> None:
    (run,) = resolved("structure", edit(anchor=Anchor(interval=5)))
    assert run.steps == (0, 5, 10, 15)
    assert run.branches == ("cond",)
    with pytest.raises(InvalidRequest, match=r"steps: 3 is not computed .* computed are 0, 5, 10"):
        resolved("structure", edit(anchor=Anchor(interval=5)), steps=[3])
    with pytest.raises(InvalidRequest, match="branches: 'uncond'"):
        resolved("structure", edit(anchor=Anchor(interval=5)), branches=["uncond"])


def test_an_uploaded_film_has_one_branch_at_any_step() -> None:
    (run,) = resolved("structure", film())
    assert (run.steps, run.branches) == ((0, 5, 10, 14, 19), ("cond",))
    assert resolved("sinks", film(), steps=[3])[0].steps == (3,)
    with pytest.raises(InvalidRequest, match="branches: 'uncond' is not"):
        resolved("structure", film(), branches=["uncond"])


def test_numbers_over_sources_are_of_branches_that_all_have() -> None:
    for kind, of_first in (("structure", ("cond", "uncond")), ("sinks", ("cond",))):
        runs = resolved(kind, source(), film(), edit(anchor=Anchor(interval=5)))
        assert [run.branches for run in runs] == [of_first, ("cond",), ("cond",)]
    with pytest.raises(InvalidRequest, match="branches: 'uncond' is not"):
        resolved("sinks", source(), film(), branches=["uncond"])


def test_an_uploaded_film_costs_what_is_looked_at() -> None:
    looked, edited = (
        estimate_analysis(AnalysisSpec(kind="structure", sources=(each,), steps=(0, 10)), CARDS)
        for each in (film(), edit(film(), anchor=Anchor(interval=5)))
    )
    assert looked.passes == 2, "cond at two steps"
    assert edited.passes == 4 + 11 / 20 * 40, "and at the edit's four, before the edit"


REFUSED = [
    ("layers", {"layers": [8]}, "layers: 8 is not one of 0 to 7"),
    ("heads", {"heads": [4]}, "heads: 4 is not one of 0 to 3"),
    ("steps", {"steps": [20]}, "steps: 20 is not one of 0 to 19"),
    (
        "causal.dense_layers",
        {"kind": "sparsity", "causal": {"dense_layers": [9]}},
        "causal.dense_layers: 9 is not one of 0 to 7",
    ),
]


@pytest.mark.parametrize(("param", "fields", "message"), REFUSED, ids=lambda each: str(each)[:24])
def test_what_the_model_has_not(param: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        resolved(**fields)
    assert refused.value.param == param


def test_a_branch_that_a_source_has_not() -> None:
    with pytest.raises(InvalidRequest, match=r"branches: 'uncond'.*guidance_scale 1"):
        resolved("structure", source(), source(guidance_scale=1.0), branches=["uncond"])


def test_a_model_that_is_not_served() -> None:
    with pytest.raises(InvalidRequest, match=r"sources\.1.model: 'c'.*served are a, b") as refused:
        resolved("structure", source(), source(model="c"))
    assert refused.value.param == "sources.1.model"


def test_a_model_without_a_map() -> None:
    with pytest.raises(Unsupported, match=r"sources\.0.model: 'linear' cannot be analysed"):
        resolved("sinks", source(model="linear"))


@pytest.mark.parametrize("kind", ["sparsity", "sinks"])
def test_grids_that_cannot_be_compared(kind: str) -> None:
    small = source(width=64)
    with pytest.raises(InvalidRequest, match=r"sources\.1.*\(5, 8, 8\).*\(5, 8, 12\)"):
        resolved(kind, source(), small)
    assert len(resolved("structure", source(), small)) == 2


def test_two_models_only_where_that_has_a_meaning() -> None:
    assert len(resolved("structure", source(), source(model="b"))) == 2
    with pytest.raises(InvalidRequest, match=r"sources\.1.model: 'b' differs.*'structure'"):
        resolved("sinks", source(), source(model="b"))


def test_too_many_maps() -> None:
    many = [source(seed=seed, num_inference_steps=1000) for seed in range(4)]
    with pytest.raises(InvalidRequest, match=f"steps: .* allowed are {MAX_MAPS}") as refused:
        resolved("structure", *many, steps={"stop": 1000})
    assert refused.value.param == "steps"


def test_a_sweep_is_of_edits_of_plain_generations() -> None:
    assert resolved("layer_sweep", edit())[0].layers == tuple(range(8))
    for wrong, what in (
        (source(), "a plain generation"),
        (edit(of=edit()), "an edit"),
        (film(), "an uploaded video"),
        (edit(of=film()), "an edit of an uploaded video"),
    ):
        words = rf"sources\.1: a layer sweep needs an edit.*; it is {what}$"
        with pytest.raises(InvalidRequest, match=words):
            resolved("layer_sweep", edit(), wrong)


@pytest.mark.parametrize(("kind", "field"), [("sparsity", "causal"), ("sinks", "ablations")])
def test_what_changes_attention_is_of_plain_generations(kind: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"sources\.0: it is an edit, and {field}"):
        resolved(kind, edit(), **{field: {}})
    with pytest.raises(InvalidRequest, match=rf"sources\.0: it is an uploaded video, and {field}"):
        resolved(kind, film(), **{field: {}})
    assert resolved(kind, edit())
    assert resolved(kind, film())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "colour"}, "kind"),
        ({"kind": "sinks", "causal": {}}, "causal: belongs to kind 'sparsity', not to 'sinks'"),
        ({"kind": "sparsity", "ablations": {}}, "ablations: belongs to kind 'sinks'"),
        ({"kind": "layer_sweep", "heads": [0]}, "heads: a layer sweep takes them from each edit"),
        ({"kind": "sparsity", "causal": {"densities": [0.0]}}, "greater than 0"),
        ({"kind": "sinks", "sampling": {"rows": 3}}, "greater than or equal to 16"),
        ({"kind": "sinks", "sources": []}, "at least 1"),
        ({"kind": "sinks", "row": 3}, "Extra inputs"),
    ],
)
def test_what_says_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AnalysisSpec.model_validate({"sources": [source()], **fields})


class TestCosts:
    def cost(self, kind: str, *sources: Recipe, **fields: Any) -> Any:
        spec = AnalysisSpec.model_validate({"kind": kind, "sources": sources, **fields})
        return estimate_analysis(spec, CARDS)

    def test_only_the_steps_that_are_needed_are_run(self) -> None:
        early = self.cost("structure", source(), steps=[0, 1])
        assert early.passes == 2 * 2
        assert early.videos == 0
        assert 0.1 < early.cost < 0.2
        whole = self.cost("structure", source(), source(seed=1))
        assert whole.passes == 2 * 20 * 2
        assert 2 < whole.cost < 2.5

    def test_an_edit_costs_its_source_too(self) -> None:
        assert self.cost("structure", edit()).passes == 2 * 20 * 2

    def test_videos_are_counted(self) -> None:
        causal = self.cost("sparsity", source(), causal={"densities": [0.5, 0.1]}, layers=[1, 2])
        assert causal.videos == 1 + 1 + 2 * 2 + 2 * 2
        control = {"densities": [0.5, 0.1], "control": True}
        assert self.cost("sparsity", source(), causal=control).videos == 2 + 2 * 8 * 2 + 4
        sinks = self.cost("sinks", source(), source(seed=1), ablations={"sinks": 2, "controls": 3})
        assert sinks.videos == 2 * (1 + 3 * 3 * 4)
        sweep = self.cost("layer_sweep", edit(), layers=[0, 1, 2, 3])
        assert sweep.videos == 2 + (2 + 4 + 4 + 1) + 4
        assert sweep.cost == sweep.videos
        assert sweep.maps == 0
        anchored = self.cost("layer_sweep", edit(anchor=Anchor(interval=5)), layers=[0, 1, 2, 3])
        assert anchored.videos == sweep.videos + 1
        assert anchored.cost == pytest.approx(3 + (anchored.videos - 3) * 4 / 40)
        assert anchored.passes == 3 * 40 + (anchored.videos - 3) * 4

    def test_what_is_refused_has_no_cost(self) -> None:
        with pytest.raises(InvalidRequest, match="layers: 9"):
            self.cost("structure", source(), layers=[9])
