"""Changes to attention against their definition on the whole map, in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.analysis import definitions as definitions
from tests.workers.analysis import maps
from workers.analysis.interventions.changes import (
    AblateColumns,
    AblateHeads,
    Sparsify,
    Where,
    attend,
    attend_sparsely,
    drop_smallest,
    without,
)
from workers.analysis.measures.rows import Heads

LAYOUTS = pytest.mark.parametrize(
    ("text", "text_first"), [(0, False), (6, False), (6, True)], ids=["video", "last", "first"]
)


def whole_map(attention: Heads, head: int, temperature: float = 1.0) -> Any:
    """The rows of the video's queries: (N, N')."""
    return definitions.softmax_map(
        attention.query[head], attention.key[head], attention.scale / temperature
    )[attention.video]


def values_of(attention: Heads, head: int) -> Any:
    assert attention.value is not None
    return attention.value[head].double().numpy()


@LAYOUTS
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
def test_the_largest_weights_are_kept(
    text: int, text_first: bool, temperature: float, block_bytes: int
) -> None:
    attention = maps.noise(maps.GRID, 2, text, text_first)
    tempered = replace(attention, scale=attention.scale / temperature)
    output = attend_sparsely(tempered, 7, None, block_bytes)
    for head in range(2):
        weights = whole_map(attention, head, temperature)
        video = weights[:, attention.video]  # a view
        video[video < -np.sort(-video, axis=-1)[:, 6:7]] = 0
        expected = weights / weights.sum(-1, keepdims=True) @ values_of(attention, head)
        assert np.allclose(output[head].numpy(), expected, atol=1e-5)


@LAYOUTS
def test_all_kept_is_the_kernel(text: int, text_first: bool) -> None:
    attention = maps.noise(maps.GRID, 2, text, text_first)
    assert torch.allclose(
        attend_sparsely(attention, maps.GRID.tokens, None), attend(attention), atol=1e-5
    )


def test_random_keys_are_of_the_same_number_and_a_seed_names_them() -> None:
    weights = torch.rand(2, 50, 60)
    drop_smallest(weights, 12, torch.Generator().manual_seed(0))
    assert ((weights > 0).sum(-1) == 12).all()
    attention = maps.noise()
    change = Sparsify(frozenset({0}), 0.2, keep="random", seed=1)
    again, other = replace(change), replace(change, seed=2)
    output = change.output(attention, 0, [0, 1])
    assert torch.equal(output, again.output(attention, 0, [0, 1]))
    assert not torch.equal(output, other.output(attention, 0, [0, 1]))


def test_temperature_alone() -> None:
    attention = maps.noise()
    output = Sparsify(frozenset({0}), temperature=0.5).output(attention, 0, [0, 1])
    expected = whole_map(attention, 1, 0.5) @ values_of(attention, 1)
    assert np.allclose(output[1].numpy(), expected, atol=1e-5)


@LAYOUTS
def test_columns_out(text: int, text_first: bool) -> None:
    attention = maps.noise(maps.GRID, 2, text, text_first)
    first = attention.video.start
    change = AblateColumns({(3, 0): (4, 11), (3, 5): (0,)})
    assert change.heads_at(9, "cond", 3, 8) == [0, 5]
    output = change.output(attention, 3, [0, 5])
    for place, columns in enumerate([[4, 11], [0]]):
        weights = whole_map(attention, place)
        weights[:, [first + column for column in columns]] = 0
        expected = weights / weights.sum(-1, keepdims=True) @ values_of(attention, place)
        assert np.allclose(output[place].numpy(), expected, atol=1e-5)


@LAYOUTS
def test_values_zero(text: int, text_first: bool) -> None:
    attention = maps.noise(maps.GRID, 2, text, text_first)
    first = attention.video.start
    output = AblateColumns({(3, 0): (4, 11), (3, 1): (0,)}, how="value").output(
        attention, 3, [0, 1]
    )
    value = values_of(attention, 0).copy()
    value[[first + 4, first + 11]] = 0
    assert np.allclose(output[0].numpy(), whole_map(attention, 0) @ value, atol=1e-5)


def test_heads_give_nothing() -> None:
    attention = maps.noise(text=6)
    change = AblateHeads(frozenset({(2, 1), (2, 0), (4, 1)}))
    assert change.heads_at(0, "cond", 2, 8) == [0, 1]
    assert change.heads_at(0, "cond", 3, 8) == []
    assert torch.equal(change.output(attention, 2, [0, 1]), torch.zeros(2, maps.GRID.tokens, 6))


def test_a_models_own_mask_stands() -> None:
    attention = maps.noise()
    tokens = maps.GRID.tokens
    for allowed in (torch.rand(1, tokens) > 0.3, torch.rand(2, tokens, tokens) > 0.3):
        masked = replace(attention, mask=allowed)
        output = AblateColumns({(0, 0): (5,), (0, 1): (5,)}).output(masked, 0, [0, 1])
        for head in range(2):
            weights = whole_map(attention, head)
            hidden = (
                ~allowed.expand(2, tokens, tokens)[head].numpy()
                if allowed.ndim == 3
                else (~allowed.expand(tokens, tokens).numpy())
            )
            weights[hidden] = 0
            weights[:, 5] = 0
            expected = weights / weights.sum(-1, keepdims=True) @ values_of(attention, head)
            assert np.allclose(output[head].numpy(), expected, atol=1e-5)
    additive = without(torch.zeros(1, tokens), torch.arange(tokens)[None, None] == 5)
    assert additive[0, 0, 5] == -torch.inf


@pytest.mark.parametrize(
    ("change", "acts"),
    [
        (Sparsify(frozenset({1}), 0.5), [0, 1, 2]),
        (Sparsify(frozenset({1}), 0.5, heads=(2,)), [2]),
        (Sparsify(frozenset({2}), 0.5), []),
        (Sparsify(frozenset({1})), []),
        (Sparsify(frozenset({1}), temperature=0.5), [0, 1, 2]),
        (Sparsify(frozenset({1}), 0.5, where=Where(steps=frozenset({3}))), []),
        (Sparsify(frozenset({1}), 0.5, where=Where(branches=frozenset({"uncond"}))), []),
        (
            Sparsify(frozenset({1}), 0.5, where=Where(frozenset({4}), frozenset({"cond"}))),
            [0, 1, 2],
        ),
    ],
)
def test_where_a_change_acts(change: Sparsify, acts: list[int]) -> None:
    assert change.heads_at(4, "cond", 1, 3) == acts


@pytest.mark.parametrize(("density", "temperature"), [(0.0, 1.0), (1.5, 1.0), (0.5, 0.0)])
def test_what_has_no_meaning_is_refused(density: float, temperature: float) -> None:
    with pytest.raises(ValueError, match=r"is not allowed; allowed is above 0"):
        Sparsify(frozenset({0}), density, temperature)
