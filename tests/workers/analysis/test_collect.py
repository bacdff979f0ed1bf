"""The collector on a real tiny model of every family: what attention uses is what is measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.analysis import definitions as definitions
from schemas.attention import Anchor, Form, Region
from schemas.errors import Unsupported
from schemas.recipes import Recipe
from tests import tiny
from tests.workers.bench import Bench, generate, stored_attention
from tests.workers.families.cases import CASES, Case
from workers.analysis.attention_calls import AttentionCall, AttentionCalls, Stock, layer_grid
from workers.analysis.collect import collect, reads_stored, steps_to_run
from workers.analysis.collector import Collected, CollectPlan, folds_of
from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.likeness import likeness
from workers.analysis.measures.rows import block_size
from workers.analysis.measures.sinks import TOP
from workers.attention.maps import Address
from workers.models.pipelines import LoadedModel

WITH_MAPS = [case for case in CASES if "transfer" not in case.without]


def plan_for(model: LoadedModel, recipe: Recipe, **changes: Any) -> CollectPlan:
    generation = recipe.generation
    values: dict[str, Any] = {
        "layers": tuple(range(model.card.layers)),
        "steps": tuple(range(generation.num_inference_steps)),
        "branches": model.family.branches(generation.guidance_scale),
        "rows": None,
        "boxes": grid_of(model, recipe),
        **changes,
    }
    return CollectPlan(**values)


def grid_of(model: LoadedModel, recipe: Recipe) -> TokenGrid:
    generation = recipe.generation
    return TokenGrid(
        *model.card.grid.tokens(generation.width, generation.height, generation.num_frames)
    )


class Watched:
    """Every call of attention of a run, kept whole."""

    def __init__(self, model: LoadedModel, recipe: Recipe) -> None:
        self.calls: dict[Address, list[tuple[AttentionCall, int]]] = {}
        with AttentionCalls(model, self._keep):
            generate(model, recipe)

    def _keep(self, call: AttentionCall, stock: Stock) -> Tensor:
        for branch in call.run.here:
            part = call.part(branch)
            if part is not None:
                folds = [(call, part.start + fold) for fold in folds_of(part.stop - part.start)]
                self.calls[Address(call.run.step, branch, call.attn.layer)] = folds
        return stock()

    def definitions_at(self, address: Address, grid: TokenGrid, head: int) -> dict[str, Any]:
        """Of the mean map of the folds."""
        call, _ = self.calls[address][0]
        grid = layer_grid(call.attn, grid, len(range(*call.video.indices(call.query.shape[2]))))
        wholes, values = [], []
        for each, element in self.calls[address]:
            heads = each.heads(element)
            wholes.append(masked_map(each, element, head))
            assert heads.value is not None
            values.append(heads.value[head].double().numpy())
        whole = np.mean(wholes, axis=0)
        size = block_size(grid.tokens)
        return {
            "structure": definitions.structure(whole, call.video, grid, values[0]),
            "sparsity": definitions.sparsity(whole, call.video, (0.1, 0.5), (0.9,), size),
            "sinks": definitions.sinks(whole, call.video, grid, values[0], TOP),
        }


def masked_map(call: AttentionCall, element: int, head: int) -> Any:
    """softmax(Q Kᵀ·scale + mask) in float64."""
    logits = call.query[element, head].double() @ call.key[element, head].double().T * call.scale
    if call.mask is not None:
        mask = call.mask.expand(len(call.query), call.query.shape[1], *call.mask.shape[2:])
        mask = mask[element, head]
        if mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        else:
            logits = logits + mask.double()
    return logits.softmax(-1).nan_to_num(0).numpy()


@pytest.fixture(scope="module", params=WITH_MAPS, ids=lambda case: case.name)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    case: Case = request.param
    return case.load(tmp_path_factory.mktemp(case.name))


# measures of the mean map alone: others are means over the folds' own maps
OF_ONE_MAP = {
    "structure": ("own_frame_share", "context_share", "frame_distance", "patch_distance"),
    "sparsity": ("block_recall",),
    "sinks": ("strength", "ratio_to_median", "position"),
}


def test_what_attention_uses_is_measured(loaded: LoadedModel) -> None:
    """At every place, against the definitions on the whole map of the same run."""
    recipe = tiny.recipe(loaded)
    plan = plan_for(loaded, recipe, densities=(0.1, 0.5), masses=(0.9,))
    collected = collect(loaded, recipe, plan)
    watched = Watched(loaded, recipe)
    assert set(watched.calls) == set(collected.signatures)
    for address in list(watched.calls)[:: max(1, len(watched.calls) // 6)]:
        place = (
            plan.branches.index(address.branch),
            plan.steps.index(address.step),
            plan.layers.index(address.layer),
        )
        folded = len(watched.calls[address]) > 1
        for finding, expected in watched.definitions_at(address, collected.grid, head=1).items():
            measures = collected.measures(finding)  # type: ignore[arg-type]
            for name, numbers in expected.items():
                if (folded and name not in OF_ONE_MAP[finding]) or name not in measures:
                    continue
                ours = measures[name].values[place][1]
                ours = ours[tuple(slice(0, size) for size in numbers.shape)]
                assert np.allclose(ours, numbers, atol=1e-4, rtol=1e-3, equal_nan=True), name


def test_the_videos_tokens_are_the_projections(loaded: LoadedModel) -> None:
    """A rotation keeps a query's length: that of what was projected, token by token."""
    bench = Bench(loaded)
    recipe = bench.recipe()
    maps, _ = bench.captured(recipe, "qk")
    watched = Watched(loaded, recipe)
    for address, folds in watched.calls.items():
        stored = maps.get(address, "q")  # (folds, N, H·d), of Helios with the history before it
        chosen = folds_of(len(stored))
        for (call, element), fold in zip(folds, chosen, strict=True):
            seen = call.query[element, :, call.video].norm(dim=-1)  # (H, N)
            projected = stored[fold, -seen.shape[1] :].reshape(seen.shape[1], seen.shape[0], -1)
            # Kandinsky rotates in bfloat16
            assert torch.allclose(seen, projected.norm(dim=-1).T, rtol=1e-2)


@pytest.mark.parametrize("form", ["hidden", "qk"])
def test_stored_attention_says_the_same(loaded: LoadedModel, form: Form) -> None:
    """In the run's first step though it is the source's last; where it does not, the source is run
    again: text in the same attention is not stored."""
    bench = Bench(loaded)
    recipe = bench.recipe()
    maps, _ = bench.captured(recipe, form)
    last = recipe.generation.num_inference_steps - 1
    plan = plan_for(loaded, recipe, steps=(last,), pictured=(last, "cond"))
    kept = stored_attention(maps, form)
    rerun = collect(loaded, recipe, plan)
    ran: list[tuple[int, int]] = []
    stored = collect(
        loaded,
        recipe,
        plan,
        stored=kept,
        on_progress=lambda *each: ran.append(each),
    )
    spared = reads_stored(loaded, kept.plan, plan)
    assert len(ran) == steps_to_run(plan, stored=spared)
    for address, signature in rerun.signatures.items():
        assert np.allclose(stored.signatures[address], signature, atol=1e-4)
    same(rerun, stored)
    for layer, picture in rerun.pictures.items():
        assert np.allclose(stored.pictures[layer].whole, picture.whole, atol=1e-4)


def same(one: Collected, other: Collected) -> None:
    for finding in one.plan.findings:
        measures = other.measures(finding)
        for name, measure in one.measures(finding).items():
            if name in measures:
                assert np.allclose(
                    measures[name].values, measure.values, atol=1e-4, rtol=1e-3, equal_nan=True
                ), name


def test_what_has_no_map_is_refused_with_the_reason(tmp_path: Path) -> None:
    linear = next(case for case in CASES if "transfer" in case.without)
    model = linear.load(tmp_path)
    recipe = tiny.recipe(model)
    plan = CollectPlan(layers=(0,), steps=(0,), branches=("cond",))
    with pytest.raises(Unsupported, match="no softmax attention map"):
        collect(model, recipe, plan)


class TestOnOneModel:
    def test_only_what_is_asked_for(self, model: LoadedModel) -> None:
        recipe = tiny.recipe(model)
        plan = plan_for(
            model,
            recipe,
            layers=(0, 2),
            steps=(1,),
            branches=("uncond",),
            heads=(1,),
            findings=("sinks",),
            boxes=None,
        )
        whole = collect(model, recipe, plan_for(model, recipe))
        part = collect(model, recipe, plan)
        assert set(part.tables) == {"sinks"}
        strength = part.measures("sinks")["strength"]
        assert strength.axes == ("branch", "step", "layer", "head", "rank")
        assert strength.values.shape == (1, 1, 2, 1, TOP)
        uncond = whole.plan.branches.index("uncond")
        expected = whole.measures("sinks")["strength"].values[uncond, 1, [0, 2], 1]
        assert np.allclose(strength.values[0, 0, :, 0], expected, rtol=1e-5)
        assert not part.signatures

    def test_the_run_ends_behind_the_last_step(self, model: LoadedModel) -> None:
        recipe = tiny.recipe(model)
        ran: list[tuple[int, int]] = []
        collect(
            model,
            recipe,
            plan_for(model, recipe, steps=(0, 1)),
            on_progress=lambda *each: ran.append(each),
        )
        assert ran == [(1, 2), (2, 2)]

    def test_it_can_be_stopped(self, model: LoadedModel) -> None:
        class Stop(Exception):
            pass

        def stop(done: int, total: int) -> None:
            raise Stop

        with pytest.raises(Stop):
            collect(
                model,
                tiny.recipe(model),
                plan_for(model, tiny.recipe(model)),
                on_progress=stop,
            )
        assert model.hooks.current is None

    def test_an_edit_is_measured_with_what_it_was_given(self, bench: Bench) -> None:
        """Where all is transferred an edit's maps are its source's, whoever runs beside it."""
        source = bench.recipe()
        plan = plan_for(bench.model, source)
        alone = collect(bench.model, source, plan)
        edit = collect(bench.model, bench.edit(source, "some dog"), plan)
        for address, signature in alone.signatures.items():
            found = likeness(signature, edit.signatures[address], sampled=False)
            assert found.overlap.value == pytest.approx(1, abs=1e-4)
        with pytest.raises(AssertionError):
            same(alone, collect(bench.model, bench.recipe("some dog"), plan))

    def test_an_anchored_edit_is_measured_where_it_computes(self, bench: Bench) -> None:
        source = bench.recipe()
        edit = bench.edit(source, "some dog", anchor=Anchor(interval=2), layers=(1,))
        plan = plan_for(bench.model, source, steps=(0, 2), branches=("cond",))
        heard: list[int] = []
        found = collect(bench.model, edit, plan, on_progress=lambda done, of: heard.append(done))
        assert heard == [0, 1, 1, 2, 2, 3], "the source's steps by turns, which count as none"
        alone = collect(bench.model, source, plan)
        taken, own = Address(2, "cond", 1), Address(2, "cond", 0)
        assert np.allclose(found.signatures[taken], alone.signatures[taken], atol=1e-4)
        assert not np.allclose(found.signatures[own], alone.signatures[own], atol=1e-4)
        with pytest.raises(Unsupported, match="some tokens alone"):
            collect(bench.model, bench.edit(source, "dog", anchor=Anchor(region=Region())), plan)

    @pytest.mark.parametrize("settings", [{"compile": "eager"}])
    def test_compiled_models_are_refused(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        model = tiny.load(tiny.wan(), tmp_path, **settings)
        recipe = tiny.recipe(model)
        with pytest.raises(Unsupported, match="compiled"):
            collect(model, recipe, plan_for(model, recipe))

    def test_another_kernel_is_refused_with_the_layers(
        self, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that does not pass through F.scaled_dot_product_attention."""
        hide_attention(monkeypatch)
        recipe = tiny.recipe(model)
        with pytest.raises(Unsupported, match=r"layers \[0, 1, 2\].*attention_backend"):
            collect(model, recipe, plan_for(model, recipe))


def hide_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers' native backend attend through a function of another name."""
    import torch.nn.functional as F

    kernel: Callable[..., Tensor] = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: kernel(*a, **k))
