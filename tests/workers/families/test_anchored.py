"""Anchored edits on every family's real pipeline class: exact, and made of few calls."""

from collections import Counter

import pytest
import torch

from schemas.attention import Anchor, Form
from schemas.recipes import Recipe
from tests.workers.bench import stored_attention
from tests.workers.families.cases import Runs
from workers.artifacts.read.device_cache import DeviceTensors

STEPS = 3
EVERY_OTHER = Anchor(interval=2)  # steps 0 and 2


@pytest.fixture
def source(transfers: Runs) -> Recipe:
    return transfers.recipe("a car", num_inference_steps=STEPS)


@pytest.mark.parametrize("form", ["hidden", "qk", "latents"])
def test_the_sources_own_prompt_gives_the_source_back(
    transfers: Runs, source: Recipe, form: Form
) -> None:
    maps, plain = transfers.captured(source, form)
    own = transfers.edit(source, "a car", anchor=EVERY_OTHER)
    assert torch.equal(transfers.latents_of(own, transfer_from=maps, form=form), plain)


def test_the_same_words_spelt_otherwise_differ_by_rounding_alone(
    transfers: Runs, source: Recipe
) -> None:
    """Then both velocities are computed, in batches of other sizes where branches share one."""
    maps, plain = transfers.captured(source, "hidden")
    same = transfers.edit(source, "a car ", anchor=EVERY_OTHER)
    made = transfers.latents_of(same, transfer_from=maps)
    other = transfers.edit(source, "some dog", anchor=EVERY_OTHER)
    effect = transfers.latents_of(other, transfer_from=maps) - plain
    assert (made - plain).square().mean() < 1e-6 * effect.square().mean()
    if not transfers.model.family.batched:
        assert torch.equal(made, plain)


def test_another_prompt_changes_it_and_a_replay_is_the_same(
    transfers: Runs, source: Recipe
) -> None:
    maps, plain = transfers.captured(source, "hidden")
    edit = transfers.edit(source, "some dog", anchor=EVERY_OTHER)
    stored = transfers.latents_of(edit, transfer_from=maps)
    assert (stored - plain).abs().max() > 1e-3
    assert torch.equal(transfers.latents_of(edit)[-STEPS:], stored)
    none = transfers.edit(source, "some dog", anchor=Anchor(interval=2, scale=0.0))
    assert torch.equal(transfers.latents_of(none, transfer_from=maps), plain)


@pytest.mark.parametrize("room", ["of all", "of a part"])
def test_what_is_computed_of_latents_is_kept_for_the_next_edit(
    transfers: Runs, source: Recipe, room: str
) -> None:
    maps, _ = transfers.captured(source, "latents")
    edit = transfers.edit(source, "some dog", anchor=EVERY_OTHER)
    alone = transfers.latents_of(edit, transfer_from=maps, form="latents")
    tier = DeviceTensors(1 << 30)
    other = transfers.edit(source, "a red car", anchor=EVERY_OTHER)
    transfers.latents_of(other, transfer_from=maps, form="latents", tier=tier)
    held, asked = tier.held_bytes, tier.misses
    assert (tier.hits, asked > 0, held > 0) == (0, True, True)
    if room == "of a part":
        tier = DeviceTensors(held * 2 // 3)
        transfers.latents_of(other, transfer_from=maps, form="latents", tier=tier)
    tier.hits = 0
    made = transfers.latents_of(edit, transfer_from=maps, form="latents", tier=tier)
    assert torch.equal(made, alone)
    if room == "of all":
        assert tier.hits == asked
    else:
        assert 0 < tier.hits < asked


def test_only_cond_is_computed_and_only_where_it_is_due(transfers: Runs, source: Recipe) -> None:
    """Counted in the first block: its calls, and how many videos and branches each has."""
    maps, _ = transfers.captured(source, "hidden")
    edit = transfers.edit(source, "some dog", anchor=EVERY_OTHER)
    hooks = transfers.model.hooks
    seen: Counter[int] = Counter()

    def count(*_: object) -> None:
        assert hooks.current is not None
        seen[hooks.current.step] += hooks.current.batch

    firsts = [hooks.modules_of(each)[0].module for each in hooks.transformers]
    handles = [module.register_forward_pre_hook(count) for module in firsts]
    try:
        transfers.latents_of(edit, transfer_from=maps)
    finally:
        for handle in handles:
            handle.remove()
    assert seen == {0: 1, 2: 1}
    assert hooks.current is None


def test_an_edit_of_an_anchored_edit(transfers: Runs, source: Recipe) -> None:
    """From what the first edit kept, as from a replay of both; its own prompt gives it back."""
    maps, _ = transfers.captured(source, "hidden")
    first = transfers.edit(source, "some dog", anchor=EVERY_OTHER)
    kept, made = transfers.captured(first, "hidden", stored=stored_attention(maps))
    again = transfers.edit(first, "some dog", anchor=EVERY_OTHER)
    assert torch.equal(transfers.latents_of(again, transfer_from=kept), made)
    second = transfers.edit(first, "a red dog", anchor=EVERY_OTHER)
    by_store = transfers.latents_of(second, transfer_from=kept)
    assert not torch.equal(by_store, made)
    assert torch.equal(transfers.latents_of(second)[-STEPS:], by_store)
