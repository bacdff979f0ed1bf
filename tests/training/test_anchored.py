"""Anchored edits follow their source: what they compute, what they leave, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.anchored import active_tokens, generate_anchored, otsu_threshold
from training.exchange import Anchor, Choice, Exchange
from training.sampling import Settings, generate
from training.stock import Pipeline

TINY = Settings(num_inference_steps=4, height=32, width=32, num_frames=5)
A, B = "A car is driving on the highway.", "A red dog is running on the grass."
SEEDS = [0, 1]
EVERY = Anchor(interval=1)


@pytest.fixture(scope="module")
def source(tiny: Pipeline) -> tuple[Exchange, Tensor]:
    """Hooks that keep a source's run of A, and its films."""
    exchange = Exchange(tiny.transformer, TINY.num_inference_steps)
    with exchange.capturing():
        films = generate(tiny, [A, A], SEEDS, TINY)
    return exchange, films


def _edit(tiny: Pipeline, exchange: Exchange, prompt: str, *choices: Choice) -> list[Tensor]:
    """The films of one prompt with each choice, made in one run."""
    films = generate_anchored(tiny, exchange, [prompt] * len(choices), choices, SEEDS, TINY)
    return list(torch.split(films, len(SEEDS)))


@pytest.mark.slow
def test_the_sources_own_prompt_gives_the_source_back(
    tiny: Pipeline, source: tuple[Exchange, Tensor]
) -> None:
    exchange, films = source
    every = Choice(anchor=EVERY)
    seldom = Choice(anchor=Anchor(interval=3, scale=2.0), layers=(1,))
    for edit in _edit(tiny, exchange, A, every, seldom):
        assert (edit - films).abs().max() < 1e-4


@pytest.mark.slow
def test_an_edit_without_differences_is_the_stock_pipelines_source(
    tiny: Pipeline, source: tuple[Exchange, Tensor]
) -> None:
    exchange, films = source
    still, moved = _edit(tiny, exchange, B, Choice(anchor=Anchor(scale=0.0)), Choice(anchor=EVERY))
    assert (still - films).abs().max() < 1e-5
    assert (moved - films).abs().max() > 1e-3


@pytest.mark.slow
def test_every_setting_changes_the_edit(tiny: Pipeline, source: tuple[Exchange, Tensor]) -> None:
    exchange, _ = source
    anchors = (
        EVERY,
        Anchor(interval=2),
        Anchor(interval=1, scale=1.5),
        Anchor(interval=1, warm_start=2),
        Anchor(interval=3, dense_until=2),
        Anchor(interval=1, region="first", region_threshold=1.0, region_growth=0),
        Anchor(interval=1, region="renewed", region_threshold=1.0, region_growth=0),
    )
    choices = [Choice(anchor=anchor) for anchor in anchors]
    films = _edit(tiny, exchange, B, *choices, Choice(anchor=EVERY, layers=(0,)))
    for index, one in enumerate(films):
        for other in range(index):
            assert (one - films[other]).abs().max() > 1e-4, (index, other)


@pytest.mark.slow
def test_edits_made_together_are_those_made_alone(
    tiny: Pipeline, source: tuple[Exchange, Tensor]
) -> None:
    exchange, _ = source
    choices = Choice(anchor=Anchor(interval=3)), Choice(anchor=EVERY, layers=(1,))
    for together, choice in zip(_edit(tiny, exchange, B, *choices), choices, strict=True):
        assert (together - _edit(tiny, exchange, B, choice)[0]).abs().max() < 1e-4


@pytest.mark.slow
def test_the_count_is_of_films_that_were_computed(
    tiny: Pipeline, source: tuple[Exchange, Tensor]
) -> None:
    exchange, _ = source
    anchors = Anchor(interval=2), Anchor(interval=3, warm_start=1), Anchor(4, dense_until=2)
    partly = Anchor(interval=2, region="first", region_threshold=1.0, region_growth=0)
    _edit(tiny, exchange, B, *(Choice(anchor=anchor) for anchor in (*anchors, partly)))
    films = len(SEEDS)
    assert exchange.passes[:3] == [2 * films, 1 * films, 2 * films]
    assert films < exchange.passes[3] < 2 * films
    with exchange.transferring([None, Choice()]):
        generate(tiny, [B] * 4, SEEDS * 2, TINY)
    assert exchange.passes == [8 * films, 8 * films]


@pytest.mark.slow
def test_tokens_outside_the_region_are_the_sources(
    tiny: Pipeline, source: tuple[Exchange, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, _ = source
    kept: list[Tensor] = []

    def keep(pipeline: Pipeline, latents: Tensor, batch: int) -> Tensor:
        kept.append(latents)
        return latents

    monkeypatch.setattr("training.anchored.decode", keep)
    region = Anchor(interval=1, region="first", region_threshold=1.0, region_growth=0)
    _edit(tiny, exchange, B, Choice(anchor=region), Choice(anchor=Anchor(scale=0.0)))
    edit, unchanged = torch.split(kept[0], len(SEEDS))
    still = (edit == unchanged).all(dim=1)
    assert 0.1 < still.float().mean() < 0.95
    exact = Anchor(interval=1, region="first", region_threshold=0.0, region_growth=0)
    films = _edit(tiny, exchange, B, Choice(anchor=exact), Choice(anchor=EVERY))
    assert (films[0] - films[1]).abs().max() < 1e-4, "every token is active"


def test_otsu_parts_two_heaps() -> None:
    low, high = torch.linspace(0, 1, 50), torch.linspace(5, 6, 10)
    values = torch.cat([low, high])[torch.randperm(60)].unsqueeze(0)
    assert 1 < otsu_threshold(values).item() < 5
    difference = torch.zeros(1, 2, 1, 7, 7)
    difference[..., 3, 3] = 1.0
    anchor = Anchor(region="first", region_growth=1)
    active = active_tokens(difference, anchor).view(7, 7)
    assert active.sum() == 9
    assert active[2:5, 2:5].all()
