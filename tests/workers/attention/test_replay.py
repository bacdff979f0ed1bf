"""Without a stored artifact the source is replayed, to the same result; edits chain."""

from typing import Any

import pytest
import torch

from schemas.attention import TransferSpec
from schemas.errors import SourceMismatch, Unsupported
from schemas.recipes import Recipe
from tests.workers.bench import Bench, generate, plan_of, same_to_rounding
from workers.attention.transfer import Capture
from workers.generation.denoise import StepInfo


@pytest.mark.parametrize(
    "transfer",
    [{}, {"layers": (0, 2), "steps": (0, 1)}, {"strength": 0.5}, {"heads": (1,)}],
    ids=["whole", "chosen", "mixed", "heads"],
)
def test_one_batch_equals_stored_maps(bench: Bench, transfer: dict[str, Any]) -> None:
    """To rounding: a batch of two goes through other matrix kernels than a batch of one."""
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    edit = bench.edit(source, "some dog", **transfer)
    stored = bench.latents_of(edit, transfer_from=maps)
    replayed = bench.latents_of(edit)
    plain = bench.latents_of(bench.recipe("some dog"))
    assert same_to_rounding(replayed, stored, plain)


@pytest.mark.parametrize(
    "transfer", [{"source_branch": "cond"}, {"source_branch": "cond", "strength": 0.5}]
)
def test_one_after_the_other_equals_stored_maps(bench: Bench, transfer: dict[str, Any]) -> None:
    """Wan computes its branches in two calls, so cond maps for both do not fit one batch."""
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    edit = bench.edit(source, "some dog", **transfer)
    stored = bench.latents_of(edit, transfer_from=maps)
    assert torch.equal(bench.latents_of(edit)[-stored.shape[0] :], stored)


def test_another_guidance_goes_one_after_the_other(bench: Bench) -> None:
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    edit = bench.edit(source, "some dog")
    stronger = edit.generation.model_copy(update={"guidance_scale": 7.0})
    edit = edit.model_copy(update={"generation": stronger})
    stored = bench.latents_of(edit, transfer_from=maps)
    assert torch.equal(bench.latents_of(edit)[-stored.shape[0] :], stored)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_edit_of_an_edit(bench: Bench, strength: float) -> None:
    """From stored maps of the edit, and replayed in a batch of three rows."""
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    first = bench.edit(source, "some dog", steps=(0, 1), strength=strength)
    second = bench.edit(first, "a red dog", layers=(0, 1))
    plan = "hidden" if strength == 1 else "qk"
    kept, first_latents = _captured_edit(bench, first, maps, plan)
    stored = bench.latents_of(second, transfer_from=kept, form=plan)
    replayed = bench.latents_of(second)
    plain = bench.latents_of(bench.recipe("a red dog"))
    assert same_to_rounding(replayed, stored, plain)
    # an edit's own kept maps give that edit back
    again = bench.edit(first, "some dog")
    assert torch.equal(bench.latents_of(again, transfer_from=kept, form=plan), first_latents)


def test_chain_one_after_the_other(bench: Bench) -> None:
    """The source's own transfer is applied again while its layers are rerun."""
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    first = bench.edit(source, "some dog", steps=(0, 1), strength=0.5)
    kept, _ = _captured_edit(bench, first, maps, "qk")
    second = bench.edit(first, "a red dog", source_branch="cond")
    stored = bench.latents_of(second, transfer_from=kept, form="qk")
    replayed = bench.latents_of(second)[-stored.shape[0] :]
    assert same_to_rounding(replayed, stored, bench.latents_of(bench.recipe("a red dog")))


def test_hidden_cannot_hold_a_mixed_edit(bench: Bench) -> None:
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    mixed = bench.edit(source, "some dog", strength=0.5)

    keep = Capture(plan_of("hidden", ("cond",)), maps)
    with pytest.raises(Unsupported, match="qk"):
        bench.latents_of(mixed, transfer_from=maps, capture=keep)


def _captured_edit(bench: Bench, edit: Any, maps: Any, form: Any) -> Any:
    from workers.attention.maps import MemoryMaps

    kept = MemoryMaps()
    keep = Capture(plan_of(form), kept)
    return kept, bench.latents_of(edit, transfer_from=maps, capture=keep)


@pytest.mark.parametrize("form", ["hidden", "latents", None])
def test_a_source_without_guidance(bench: Bench, form: Any) -> None:
    """It has no uncond maps: its cond maps may go into both branches, and nothing else."""
    source = bench.recipe("a car", guidance_scale=1.0)
    generation = source.generation.model_copy(update={"prompt": "some dog", "guidance_scale": 4.0})
    maps = None if form is None else bench.captured(source, form)[0]
    options = {} if form is None else {"transfer_from": maps, "form": form}
    own = Recipe(generation=generation, source=source, transfer=TransferSpec())
    with pytest.raises(SourceMismatch, match="without branch 'uncond'"):
        bench.latents_of(own, **options)
    cond = own.model_copy(update={"transfer": TransferSpec(source_branch="cond")})
    hidden = bench.captured(source, "hidden")[0]
    expected = bench.latents_of(cond, transfer_from=hidden)
    assert torch.equal(bench.latents_of(cond, **options)[-3:], expected)


def test_a_batch_that_does_not_fit_runs_in_turn(bench: Bench) -> None:
    source = bench.recipe("a car")
    maps, _ = bench.captured(source, "hidden")
    edit = bench.edit(source, "some dog")
    rows: list[int] = []

    def two_are_too_many(info: StepInfo) -> None:
        rows.append(len(info.latents))
        if len(info.latents) > 1:
            raise torch.OutOfMemoryError("no room for two")

    frames = generate(bench.model, edit, on_step=two_are_too_many)
    assert rows == [2, 1, 1, 1, 1, 1, 1]
    assert (frames == generate(bench.model, edit, transfer_from=maps)).all()
