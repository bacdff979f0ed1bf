"""Edits of one source, made in one batch: those that they are alone, and its tensors read once."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from schemas.attention import Anchor
from schemas.selection import resolve_recipe
from tests.workers.bench import generate, stored_attention
from tests.workers.families.cases import Runs
from tests.workers.families.conftest import runs
from workers.analysis.interventions.videos import Progress, Wish, denoise_batch
from workers.attention.maps import Address, MemoryMaps
from workers.attention.stored_source import transfer_from
from workers.attention.transfer import Transfer
from workers.families.pixels import Frames

__all__ = ["runs"]  # a fixture: every family, of which the slow ones are marked

STEPS = 3
PROMPTS = ("some dog", "a red car", "snow")
ROUNDING = {"kandinsky-5": 4}  # of 255, the most by which batches of one and of three differ
WAYS: dict[str, dict[str, Any]] = {
    "anchored": {"anchor": Anchor(interval=2), "layers": (0,)},
    "paper": {"layers": (0,)},
}


class Counted(MemoryMaps):
    """Counts what is read."""

    def __init__(self, maps: MemoryMaps) -> None:
        super().__init__()
        self.tensors = maps.tensors
        self.reads: Counter[tuple[Address, str]] = Counter()

    def get(self, address: Address, name: str) -> Tensor:
        self.reads[address, name] += 1
        return super().get(address, name)


@pytest.fixture
def several(runs: Runs) -> Runs:
    assert runs.case is not None
    if "transfer" in runs.case.without:
        pytest.skip(runs.case.without["transfer"])
    if runs.model.family.max_batch < len(PROMPTS):
        pytest.skip("one video a batch")
    return runs


def together(runs: Runs, maps: MemoryMaps, spec: dict[str, Any]) -> list[Frames]:
    source = runs.recipe("a car", num_inference_steps=STEPS)
    edits = [resolve_recipe(runs.edit(source, each, **spec), runs.model.card) for each in PROMPTS]
    with transfer_from(stored_attention(maps), runs.model.hooks, edits[0]) as first:
        taken: list[Transfer] = [
            replace(first, resolved=edit.transfer) for edit in edits if edit.transfer is not None
        ]
        wishes = [
            Wish(edit.recipe.generation, transfer=transfer)
            for edit, transfer in zip(edits, taken, strict=True)
        ]
        return denoise_batch(runs.model, wishes, Progress(STEPS, None))


@pytest.mark.parametrize("way", WAYS)
def test_each_is_what_it_is_alone(several: Runs, way: str) -> None:
    source = several.recipe("a car", num_inference_steps=STEPS)
    maps, _ = several.captured(source, "hidden")
    made = together(several, maps, WAYS[way])
    assert several.case is not None
    rounding = ROUNDING.get(several.case.name, 2)
    for prompt, frames in zip(PROMPTS, made, strict=True):
        alone = generate(
            several.model, several.edit(source, prompt, **WAYS[way]), transfer_from=maps
        )
        assert np.abs(alone.astype(int) - frames).max() <= rounding, "but for rounding"


@pytest.mark.parametrize("way", WAYS)
def test_the_sources_tensors_are_read_once_for_all(several: Runs, way: str) -> None:
    source = several.recipe("a car", num_inference_steps=STEPS)
    maps = Counted(several.captured(source, "hidden")[0])
    together(several, maps, WAYS[way])
    assert {count for (_, name), count in maps.reads.items() if name == "hidden"} == {1}


def test_a_shared_state_is_projected_once(several: Runs) -> None:
    """Where it is the whole of what a projection is given, and no text stands beside it."""
    assert several.case is not None
    if several.case.joint:
        pytest.skip("text of each edit's own goes through the same projection")
    source = several.recipe("a car", num_inference_steps=STEPS)
    maps, _ = several.captured(source, "hidden")
    attn = several.model.hooks.attention_modules[0]
    assert attn.to_q is not None
    assert attn.to_k is not None
    stored = len(maps.get(Address(0, "cond", 0), "hidden"))
    seen: list[int] = []

    def count(_: Any, args: tuple[Tensor], __: Tensor) -> None:
        seen.append(len(args[0]))

    handles = [linear.register_forward_hook(count) for linear in (attn.to_q, attn.to_k)]
    try:
        together(several, maps, WAYS["anchored"])
    finally:
        for handle in handles:
            handle.remove()
    assert set(seen) == {stored}
