"""A source is rerun in lockstep with its edit: bounded memory, and nothing left behind."""

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.workers.bench import Bench
from workers.attention.maps import Address, MemoryMaps
from workers.attention.recomputed_source import RecomputedSource

THREAD = "source-rerun"


class Stop(Exception):
    """What a test ends a run with."""


@dataclass
class Given:
    """Every tensor that a rerun gave, and how many of them lived on whenever one was given."""

    seen: list["weakref.ref[Tensor]"] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)

    @property
    def living(self) -> int:
        return sum(each() is not None for each in self.seen)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    given, get = Given(), RecomputedSource.get

    def watched(self: RecomputedSource, address: Address, name: str) -> Tensor:
        tensor = get(self, address, name)
        given.seen.append(weakref.ref(tensor))
        given.alive.append(given.living)
        return tensor

    monkeypatch.setattr(RecomputedSource, "get", watched)
    return given


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert THREAD not in [each.name for each in threading.enumerate()]


@pytest.fixture
def latents(bench: Bench) -> MemoryMaps:
    return bench.captured(bench.recipe("a car"), "latents")[0]


def _edited(bench: Bench, latents: MemoryMaps, **transfer: Any) -> Tensor:
    edit = bench.edit(bench.recipe("a car"), "some dog", **transfer)
    return bench.latents_of(edit, transfer_from=latents, form="latents")


def _fail_at(bench: Bench, block: int, thread: str) -> Any:
    """Have a block fail in the forward of one thread; the hook's handle."""

    def fail(*_: Any) -> None:
        if threading.current_thread().name == thread:
            raise Stop

    return bench.model.pipeline.transformer.blocks[block].register_forward_pre_hook(fail)


def test_one_layer_is_held_at_a_time(bench: Bench, latents: MemoryMaps, given: Given) -> None:
    _edited(bench, latents)
    assert len(given.alive) == tiny.STEPS * tiny.LAYERS * 2
    assert max(given.alive) == 1
    gc.collect()
    assert given.living == 0


@pytest.mark.parametrize("thread", [THREAD, "MainThread"])
def test_a_failure_in_mid_call_ends_both(
    bench: Bench, latents: MemoryMaps, given: Given, thread: str
) -> None:
    """Of the source's forward, or of the edit's while the source's waits in a layer."""
    whole = _edited(bench, latents)
    hook = _fail_at(bench, 2, thread)
    with pytest.raises(Stop):
        _edited(bench, latents)
    hook.remove()
    assert THREAD not in [each.name for each in threading.enumerate()]
    assert bench.model.hooks.current is None
    gc.collect()
    assert given.living == 0
    assert torch.equal(_edited(bench, latents), whole)


def test_only_the_layers_in_front_are_run(bench: Bench, latents: MemoryMaps) -> None:
    """Nothing behind the last wanted layer, not even the rest of its own block."""
    ran: list[int] = []
    transformer = bench.model.pipeline.transformer
    hooks = [
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(transformer.blocks)
    ]
    _edited(bench, latents, layers=(1,))
    for hook in hooks:
        hook.remove()
    calls = tiny.STEPS * 2
    assert [ran.count(number) for number in range(tiny.LAYERS)] == [2 * calls, calls, calls]


def test_cond_maps_in_both_calls(bench: Bench, latents: MemoryMaps) -> None:
    """The second call of a step asks for layers that the source's forward has gone past."""
    hidden, _ = bench.captured(bench.recipe("a car"), "hidden")
    edit = bench.edit(bench.recipe("a car"), "some dog", source_branch="cond")
    stored = bench.latents_of(edit, transfer_from=hidden)
    assert torch.equal(_edited(bench, latents, source_branch="cond"), stored)
