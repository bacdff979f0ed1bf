"""diffusers' step caches on every family that has them: exact where they must be."""

import pytest
import torch

from schemas.attention import Anchor, CaptureSpec, Form, StepCache
from schemas.errors import SourceMismatch, Unsupported
from schemas.recipes import Recipe
from schemas.resolve_capture import resolve_capture
from schemas.selection import resolve_recipe
from tests.workers.bench import generate
from tests.workers.families.cases import Runs
from workers.generation.generate import generate as engine_generate

STEPS = 5
EVERY_OTHER = Anchor(interval=2)  # steps 0, 2 and 4


@pytest.fixture(params=["first_block", "taylorseer"])
def cached(transfers: Runs, request: pytest.FixtureRequest) -> Recipe:
    """Blocks are left out in every step that allows it: random weights need a high threshold."""
    card = transfers.model.card
    if not card.supports_step_cache or request.param not in card.step_cache_methods:
        pytest.skip("the family does not have it")
    cache = StepCache(method="taylorseer", refresh=2)
    if request.param == "first_block":  # above what requests may name
        cache = StepCache.model_construct(method="first_block", threshold=1e6, refresh=2)
    return transfers.recipe("a car", num_inference_steps=STEPS, step_cache=cache)


def with_cache(recipe: Recipe, cache: StepCache | None) -> Recipe:
    generation = recipe.generation.model_copy(update={"step_cache": cache})
    return recipe.model_copy(update={"generation": generation})


def edit_of(runs: Runs, source: Recipe, prompt: str, anchor: Anchor | None) -> Recipe:
    return with_cache(runs.edit(source, prompt, anchor=anchor), None)


def test_nothing_is_left_out_where_all_is_to_be_computed(transfers: Runs, cached: Recipe) -> None:
    plain = transfers.latents_of(with_cache(cached, None))
    assert cached.generation.step_cache is not None
    caches = [StepCache(method=cached.generation.step_cache.method, refresh=1)]
    if caches[0].method == "first_block":
        caches += [StepCache(threshold=1e-9, refresh=STEPS), StepCache(threshold=1, refresh=1)]
    for cache in caches:
        assert torch.equal(transfers.latents_of(with_cache(cached, cache)), plain)
    assert not torch.equal(transfers.latents_of(cached), plain)
    assert torch.equal(transfers.latents_of(with_cache(cached, None)), plain), "it is off again"


def test_what_it_cost_is_what_was_computed(transfers: Runs, cached: Recipe) -> None:
    """Counted in every layer: the branches of which each call computes one or all."""
    model, seen = transfers.model, 0

    def count(*_: object) -> None:
        nonlocal seen
        assert model.hooks.current is not None
        seen += len(model.hooks.current.here)

    modules = [each.module for each in model.hooks.attention_modules]
    handles = [module.register_forward_pre_hook(count) for module in modules]
    try:
        made = engine_generate(model, resolve_recipe(cached, model.card))
    finally:
        for handle in handles:
            handle.remove()
    whole = STEPS * len(model.family.branches(cached.generation.guidance_scale))
    assert made.passes == pytest.approx(seen / model.hooks.layers)
    assert made.passes < whole


@pytest.mark.parametrize("form", ["hidden", "latents"])
def test_an_anchored_edit_follows_it_exactly(transfers: Runs, cached: Recipe, form: Form) -> None:
    maps, made = transfers.captured(cached, form)
    assert torch.equal(made, transfers.latents_of(cached)), "a capture changes nothing"
    own = edit_of(transfers, cached, "a car", EVERY_OTHER)
    assert torch.equal(transfers.latents_of(own, transfer_from=maps, form=form), made)
    other = edit_of(transfers, cached, "some dog", EVERY_OTHER)
    stored = transfers.latents_of(other, transfer_from=maps, form=form)
    assert (stored - made).abs().max() > 1e-3
    if form == "hidden":
        assert torch.equal(transfers.latents_of(other)[-STEPS:], stored)


def test_it_keeps_the_attention_of_full_steps_alone(transfers: Runs, cached: Recipe) -> None:
    spec = CaptureSpec(form="hidden", scope="everything")
    plan = resolve_capture(spec, transfers.model.card, cached)
    assert plan.steps == (0, 2, 4)


@pytest.mark.parametrize("anchor", [None, Anchor(interval=3)])
def test_an_edit_that_wants_other_steps_is_refused(
    transfers: Runs, cached: Recipe, anchor: Anchor | None
) -> None:
    edit = edit_of(transfers, cached, "some dog", anchor)
    with pytest.raises(SourceMismatch, match=r"step cache .* multiple of 2"):
        resolve_recipe(edit, transfers.model.card)


def test_the_full_steps_are_computed_and_no_others(transfers: Runs) -> None:
    """TaylorSeer counts steps by itself; its first ones are computed too."""
    if "taylorseer" not in transfers.model.card.step_cache_methods:
        pytest.skip("of two experts each has some of the steps")
    if not transfers.model.card.supports_step_cache:
        pytest.skip("the family has none")
    whole = len(transfers.model.family.branches(4.0))
    for refresh, computed in ((1, 7), (2, 4), (3, 4), (5, 5)):
        cache = StepCache(method="taylorseer", refresh=refresh)
        recipe = transfers.recipe("a car", num_inference_steps=7, step_cache=cache)
        made = engine_generate(transfers.model, resolve_recipe(recipe, transfers.model.card))
        assert made.passes == computed * whole


def test_a_family_without_it_says_so(transfers: Runs) -> None:
    if transfers.model.card.supports_step_cache:
        pytest.skip("the family has it")
    recipe = transfers.recipe("a car", step_cache=StepCache(refresh=2))
    with pytest.raises(Unsupported, match="step_cache"):
        generate(transfers.model, recipe)
