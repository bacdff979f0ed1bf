"""Anchored edits that compute the tokens that change: a mask over a full computation, for less."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.attention import Anchor, Region
from schemas.recipes import Recipe
from schemas.selection import resolve_recipe
from tests.workers.bench import stored_attention
from tests.workers.families.cases import CASES, Runs
from tests.workers.generation.test_anchored_calls import Call, call_cond, outputs_of, recorded
from workers.attention.maps import Address, MemoryMaps
from workers.generation.generate import generate
from workers.generation.region import ActiveTokens, TokenGrid, choose_tokens, otsu_threshold
from workers.models.pipelines import LoadedModel

STEPS, INTERVAL = 6, 2
LAYERS = (1,)  # whose maps are the source's; of the other the edit has its own
PART = Region(threshold=1.0, growth=0, max_share=0.9)


@pytest.fixture(scope="module", params=["wan", "wan-a14b"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    case = next(case for case in CASES if case.name == request.param)
    return Runs(case.load(tmp_path_factory.mktemp(case.name)), case=case)


@pytest.fixture(scope="module")
def source(runs: Runs) -> Recipe:
    return runs.recipe("a car", num_inference_steps=STEPS)


@pytest.fixture(scope="module")
def maps(runs: Runs, source: Recipe) -> MemoryMaps:
    return runs.captured(source, "hidden")[0]


def edit_of(
    runs: Runs, source: Recipe, region: Region | None, prompt: str = "some dog", **transfer: Any
) -> Recipe:
    anchor = Anchor(interval=INTERVAL, scale=1.5, region=region)
    return runs.edit(source, prompt, anchor=anchor, **{"layers": LAYERS, **transfer})


@pytest.mark.parametrize(
    "transfer", [{}, {"strength": 0.5}, {"heads": (1,)}], ids=["whole", "mixed", "some heads"]
)
def test_it_is_a_mask_over_a_full_computation(
    runs: Runs, source: Recipe, transfer: dict[str, Any]
) -> None:
    with recorded(runs.model) as calls:
        maps, _ = runs.captured(source, "hidden")
    with recorded(runs.model) as others:
        runs.latents_of(runs.recipe("some dog", num_inference_steps=STEPS))
    expected = Masked(runs.model, source, maps, transfer).run(calls, others)
    edit = edit_of(runs, source, PART, **transfer)
    made = runs.latents_of(edit, transfer_from=maps)
    without = runs.latents_of(edit_of(runs, source, None, **transfer), transfer_from=maps)
    effect = (expected - without).square().mean().sqrt()
    assert effect > 1e-3, "the region changes nothing: this comparison would always pass"
    assert (made - expected).square().mean().sqrt() < 1e-4 * effect


class Masked:
    """The reference: every token is computed, and what the region leaves out is thrown away."""

    def __init__(
        self, model: LoadedModel, source: Recipe, maps: MemoryMaps, transfer: dict[str, Any]
    ) -> None:
        self.model, self.source, self.maps = model, source, maps
        self.heads, self.strength = transfer.get("heads"), transfer.get("strength", 1.0)
        self.mask: Tensor | None = None  # (N,)

    def run(self, calls: list[Call], others: list[Call]) -> Tensor:
        scheduler = calls[0].inputs["scheduler"]
        guidance = self.source.generation.guidance_scale
        latents, seen = calls[0].inputs["hidden_states"], []
        for step, t in enumerate(scheduler.timesteps):
            cond, uncond = outputs_of(self.model, calls[2 * step : 2 * step + 2])
            assert uncond is not None
            if step % INTERVAL == 0:
                with self.states_of_the_source(step):
                    found = call_cond(self.model, others[2 * step], latents) - cond
                difference = self.masked(found)
            velocity = cond + (guidance - 1) * (cond - uncond) + 1.5 * difference
            latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
            seen.append(latents[-1].clone())
        return torch.stack(seen)

    def masked(self, difference: Tensor) -> Tensor:
        grid = TokenGrid.of(difference, (1, 2, 2))
        if self.mask is not None:
            difference = difference * grid.spread(self.mask)
        chosen = choose_tokens(grid.norms(difference), PART)
        assert 0 < chosen.sum() < 0.9 * len(chosen)
        first, self.mask = self.mask is None, chosen
        return difference * grid.spread(chosen) if first else difference

    @contextmanager
    def states_of_the_source(self, step: int) -> Iterator[None]:
        with ExitStack() as hooks:
            for attn in self.model.hooks.attention_modules:
                stored = self.maps.get(Address(step, "cond", attn.layer), "hidden")
                module: Any = attn.module
                for linear in (module.to_q, module.to_k, module.to_v):
                    hook = linear.register_forward_pre_hook(self.beside(stored))
                    hooks.callback(hook.remove)
                if attn.layer in LAYERS:
                    for axis, norm in (("q", module.norm_q), ("k", module.norm_k)):
                        hook = norm.register_forward_hook(self.mixed(attn, axis, stored))
                        hooks.callback(hook.remove)
            yield

    def beside(self, stored: Tensor) -> Any:
        def hook(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
            if self.mask is None:
                return args
            return (torch.where(self.mask[:, None], args[0], stored),)

        return hook

    def mixed(self, attn: Any, axis: Any, stored: Tensor) -> Any:
        """The map's side of the transfer, behind the projection and its norm."""

        def hook(_: Any, __: Any, out: Tensor) -> Tensor:
            theirs = torch.lerp(out, attn.project(axis, stored), self.strength)
            if self.heads is None:
                return theirs
            chosen = torch.tensor([head in self.heads for head in range(attn.heads)])
            wide = chosen.repeat_interleave(out.shape[-1] // attn.heads)
            return torch.where(wide, theirs, out)

        return hook


@pytest.mark.parametrize("form", ["latents", "replayed"])
def test_from_latents_and_replayed_it_is_the_same(
    runs: Runs, source: Recipe, maps: MemoryMaps, form: Any
) -> None:
    edit = edit_of(runs, source, PART)
    stored = runs.latents_of(edit, transfer_from=maps)
    if form == "latents":
        latents, _ = runs.captured(source, "latents")
        made = runs.latents_of(edit, transfer_from=latents, form="latents")
    else:
        made = runs.latents_of(edit)[-STEPS:]
    assert torch.equal(made, stored)


def test_only_the_active_tokens_go_through_the_feed_forward(
    runs: Runs, source: Recipe, maps: MemoryMaps
) -> None:
    """And the cost that a run reports is the share of tokens that were seen there."""
    seen: Counter[int] = Counter()
    model, hooks = runs.model, runs.model.hooks

    def count(_: Any, args: tuple[Tensor]) -> None:
        assert hooks.current is not None
        seen[hooks.current.step] += args[0].shape[0] * args[0].shape[1]

    blocks = [transformer.blocks[-1].ffn for transformer in hooks.transformers]  # type: ignore[index, union-attr]
    handles = [block.register_forward_pre_hook(count) for block in blocks]
    try:
        resolved = resolve_recipe(edit_of(runs, source, PART), model.card)
        passes = generate(model, resolved, stored=stored_attention(maps)).passes
    finally:
        for handle in handles:
            handle.remove()
    tokens = maps.get(Address(0, "cond", 0), "hidden").shape[1]
    assert set(seen) == {0, 2, 4}
    assert seen[0] == tokens
    assert 0 < seen[2] < tokens
    assert 0 < seen[4] < tokens
    assert passes == pytest.approx(sum(seen.values()) / tokens)


def test_the_source_shows_where_nothing_changes(
    runs: Runs, source: Recipe, maps: MemoryMaps
) -> None:
    plain = runs.latents_of(source)
    made = runs.latents_of(edit_of(runs, source, PART), transfer_from=maps)
    still = (made[-1] == plain[-1]).float().mean()
    assert 0.2 < still < 1
    own = edit_of(runs, source, PART, prompt="a car")
    assert torch.equal(runs.latents_of(own, transfer_from=maps), plain)


@pytest.mark.parametrize(
    "region", [Region(threshold=0), Region(threshold=1.0, growth=0, max_share=0.01)]
)
def test_a_region_of_everything_is_the_plain_anchored_edit(
    runs: Runs, source: Recipe, maps: MemoryMaps, region: Region
) -> None:
    """Threshold 0 leaves nothing out, and too large a share means the whole picture."""
    every = edit_of(runs, source, region)
    plain = edit_of(runs, source, None)
    made, expected = (runs.latents_of(each, transfer_from=maps) for each in (every, plain))
    assert torch.equal(made, expected)


def test_what_a_region_edit_keeps_can_be_edited_again(
    runs: Runs, source: Recipe, maps: MemoryMaps
) -> None:
    first = edit_of(runs, source, PART)
    kept, made = runs.captured(first, "hidden", stored=stored_attention(maps))
    again = runs.edit(first, "some dog", layers=LAYERS, anchor=Anchor(interval=INTERVAL))
    assert torch.equal(runs.latents_of(again, transfer_from=kept), made)
    second = runs.edit(first, "a red dog", layers=LAYERS, anchor=Anchor(interval=INTERVAL))
    by_store = runs.latents_of(second, transfer_from=kept)
    assert not torch.equal(by_store, made)
    assert torch.equal(runs.latents_of(second)[-STEPS:], by_store)


@pytest.mark.parametrize("settings", [{"compile": "eager"}, {"fuse_projections": True}])
def test_a_model_whose_projections_are_not_its_own_computes_all(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    wan = next(case for case in CASES if case.name == "wan")
    assert wan.load(tmp_path).card.supports_region
    assert not wan.load(tmp_path, **settings).card.supports_region


def test_tokens_are_chosen_by_otsu_and_grown_within_their_frame() -> None:
    low, high = torch.linspace(0, 1, 50), torch.linspace(5, 6, 10)
    assert 1 < float(otsu_threshold(torch.cat([low, high])[torch.randperm(60)])) < 5
    norms = torch.zeros(2, 7, 7)
    norms[0, 3, 3] = 1.0
    chosen = choose_tokens(norms, Region(growth=1)).view(2, 7, 7)
    assert chosen.sum() == 9
    assert chosen[0, 2:5, 2:5].all()


def test_a_whole_picture_stays_whole() -> None:
    """A choice that grew past the bound is not taken back when later differences are few."""
    active = ActiveTokens(Region(growth=0, max_share=0.5), (1, 1, 1))
    difference = torch.zeros(1, 2, 1, 4, 4)
    difference[..., :3, :] = 1.0
    assert torch.equal(active.take(difference), difference)
    assert active.chosen is None
    assert active.share == 1.0
    few = torch.zeros_like(difference)
    few[..., 0, 0] = 1.0
    assert torch.equal(active.take(few), few)
    assert active.chosen is None


def test_norms_and_places_of_patches() -> None:
    latents = torch.zeros(1, 3, 2, 4, 6)
    latents[0, :, 1, 2:, 4:] = 1.0  # the last token of patches of 1x2x2
    grid = TokenGrid.of(latents, (1, 2, 2))
    norms = grid.norms(latents)
    assert norms.shape == (2, 2, 3)
    assert norms[1, 1, 2] == pytest.approx(12**0.5)
    assert norms.sum() == norms[1, 1, 2]
    places = grid.spread(norms.flatten() > 0)
    assert torch.equal(places.expand_as(latents), latents > 0)
