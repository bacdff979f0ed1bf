"""Runs with changes, on a real tiny model of every family."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.attention import TransferSpec
from schemas.recipes import Recipe
from schemas.selection import resolve_transfer
from tests import tiny
from tests.workers.analysis.test_collect import WITH_MAPS
from tests.workers.bench import Bench, generate, plan_of
from tests.workers.families.cases import Case
from workers.analysis.interventions.changes import AblateHeads, Change, Sparsify, Where
from workers.analysis.interventions.intervene import changed_attention
from workers.analysis.interventions.videos import (
    Progress,
    Wish,
    batch_sizes,
    denoise_batch,
    make_videos,
    most_in_a_batch,
    steps_of,
)
from workers.attention.maps import MemoryMaps
from workers.attention.transfer import Capture, Transfer
from workers.models.pipelines import LoadedModel


@pytest.fixture(scope="module", params=WITH_MAPS, ids=lambda case: case.name)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    case: Case = request.param
    return case.load(tmp_path_factory.mktemp(case.name))


def latents(model: LoadedModel, recipe: Recipe, *changes: Change) -> Tensor:
    with changed_attention(model, [changes]):
        return Bench(model).latents_of(recipe)


def everywhere(model: LoadedModel, **values: Any) -> Sparsify:
    return Sparsify(frozenset(range(model.card.layers)), **values)


class TestEveryFamily:
    def test_density_1_and_temperature_1_give_the_run_back(self, loaded: LoadedModel) -> None:
        recipe = tiny.recipe(loaded)
        plain = Bench(loaded).latents_of(recipe)
        assert torch.equal(latents(loaded, recipe, everywhere(loaded)), plain)

    def test_nearly_all_kept_is_nearly_the_run(self, loaded: LoadedModel) -> None:
        """Through the blocks of rows and not the kernel: all but a row's smallest weight."""
        recipe = tiny.recipe(loaded)
        plain = Bench(loaded).latents_of(recipe)
        nearly = latents(loaded, recipe, everywhere(loaded, temperature=1 + 1e-6))
        assert torch.allclose(nearly, plain, atol=2e-3, rtol=1e-3)

    def test_sparser_is_further(self, loaded: LoadedModel) -> None:
        recipe = tiny.recipe(loaded)
        plain = Bench(loaded).latents_of(recipe)
        far, further = (
            (latents(loaded, recipe, everywhere(loaded, density=density)) - plain).square().mean()
            for density in (0.7, 0.1)
        )
        assert 0 < far < further

    def test_a_change_stays_in_its_video(self, loaded: LoadedModel) -> None:
        if most_in_a_batch(loaded) < 2:
            pytest.skip("one video a batch")
        generation = tiny.recipe(loaded).generation
        other = generation.model_copy(update={"seed": 8, "prompt": "some dog"})
        change = everywhere(loaded, density=0.2)
        before = denoise_batch(loaded, [Wish(generation), Wish(other)], Progress(2, None))
        after = denoise_batch(loaded, [Wish(generation), Wish(other, (change,))], Progress(2, None))
        assert np.array_equal(before[0], after[0])
        if np.ptp(before[1]):  # Allegro's tiny VAE shows grey whatever it is given
            assert not np.array_equal(before[1], after[1])

    def test_a_batch_is_its_videos(self, loaded: LoadedModel) -> None:
        """Each in its place, and with its own changes."""
        generation = tiny.recipe(loaded).generation
        others = [generation.model_copy(update={"seed": seed}) for seed in (7, 8, 9)]
        change = everywhere(loaded, density=0.2)
        wishes = [Wish(others[0]), Wish(others[1], (change,)), Wish(others[2])]
        made = dict(make_videos(loaded, wishes, Progress(0, None)))
        assert sorted(made) == [0, 1, 2]
        for number, wish in enumerate(wishes):
            with changed_attention(loaded, [wish.changes]):
                alone = generate(loaded, Recipe(generation=wish.generation))
            assert np.abs(alone.astype(int) - made[number]).max() <= 2, "but for rounding"


class TestOnOneModel:
    def test_a_head_that_gives_nothing(self, model: LoadedModel) -> None:
        """As if the columns of to_out that it is given were empty."""
        recipe = tiny.recipe(model)
        ablated = latents(model, recipe, AblateHeads(frozenset({(1, 0)})))
        with emptied_head(model, layer=1, head=0):
            expected = Bench(model).latents_of(recipe)
        assert torch.equal(ablated, expected)
        assert not torch.equal(expected, Bench(model).latents_of(recipe))

    def test_only_where_it_acts(self, model: LoadedModel) -> None:
        recipe = tiny.recipe(model)
        plain = Bench(model).latents_of(recipe)
        last = everywhere(model, density=0.2, where=Where(frozenset({2}), frozenset({"cond"})))
        changed = latents(model, recipe, last)
        assert torch.equal(changed[:2], plain[:2])
        assert not torch.equal(changed[2], plain[2])

    def test_two_changes_of_one_head_are_refused(self, model: LoadedModel) -> None:
        changes = (everywhere(model, density=0.5), AblateHeads(frozenset({(0, 0)})))
        with pytest.raises(ValueError, match="one head of layer 0"):
            latents(model, tiny.recipe(model), *changes)

    def test_other_shots_have_batches_of_their_own(self, model: LoadedModel) -> None:
        generation = tiny.recipe(model).generation
        short = generation.model_copy(update={"num_inference_steps": 2})
        wishes = [Wish(generation), Wish(short), Wish(generation)]
        heard: list[int] = []
        total = steps_of([each.generation for each in wishes], most_in_a_batch(model))
        progress = Progress(total, lambda done, of: heard.append(done))
        made = dict(make_videos(model, wishes, progress))
        assert heard == list(range(1, 3 + 2 + 1))
        # two rows of one batch may round otherwise: a level of 255
        assert np.abs(made[0].astype(int) - made[2]).max() <= 1
        assert np.abs(made[0].astype(int) - made[1]).max() > 1

    def test_progress_is_known_beforehand(self, model: LoadedModel) -> None:
        generation = tiny.recipe(model).generation
        heard: list[tuple[int, int]] = []
        total = steps_of([generation] * 5, most_in_a_batch(model))
        progress = Progress(total, lambda *each: heard.append(each))
        assert len(list(make_videos(model, [Wish(generation)] * 5, progress))) == 5
        assert heard == [(n + 1, total) for n in range(total)]

    def test_it_can_be_stopped(self, model: LoadedModel) -> None:
        class Stop(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done == 2:
                raise Stop

        generation = tiny.recipe(model).generation
        with pytest.raises(Stop):
            list(make_videos(model, [Wish(generation)], Progress(3, stop)))
        assert model.hooks.current is None

    def test_each_video_of_a_batch_takes_a_transfer_of_its_own(self, bench: Bench) -> None:
        model, source = bench.model, bench.recipe()
        maps = MemoryMaps()
        kept = Capture(plan_of("hidden"), maps)
        denoise_batch(model, [Wish(source.generation)], Progress(3, None), kept)
        edit = bench.edit(source, "some dog").generation
        wishes = []
        for layers in ((0,), (0, 1, 2)):
            resolved = resolve_transfer(TransferSpec(layers=layers), model.card, edit)
            wishes.append(Wish(edit, transfer=Transfer(resolved, "hidden", maps)))
        made = denoise_batch(model, [Wish(edit), *wishes], Progress(3, None))
        for layers, frames in (((0,), made[1]), ((0, 1, 2), made[2])):
            recipe = bench.edit(source, "some dog", layers=layers)
            alone = generate(model, recipe, transfer_from=maps)
            assert np.abs(alone.astype(int) - frames).max() <= 2
        plain = generate(model, Recipe(generation=edit))
        assert np.abs(plain.astype(int) - made[0]).max() <= 2


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (5, 4, [3, 2]), (9, 4, [3, 3, 3]), (3, 1, [1, 1, 1])],
)
def test_batches(count: int, most: int, sizes: list[int]) -> None:
    assert batch_sizes(count, most) == sizes


@contextmanager
def emptied_head(model: LoadedModel, layer: int, head: int) -> Iterator[None]:
    attn = next(each for each in model.hooks.attention_modules if each.layer == layer)
    module: Any = attn.module
    width = module.to_out[0].in_features // attn.heads

    def empty(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = args[0].clone()
        given[..., head * width : (head + 1) * width] = 0
        return (given, *args[1:])

    handle = module.to_out[0].register_forward_pre_hook(empty)
    try:
        yield
    finally:
        handle.remove()
