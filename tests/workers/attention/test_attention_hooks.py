"""The hooks is off unless asked, notices what it misses, and leaves nothing behind."""

import pytest
import torch

from schemas.errors import ArtifactCorrupt, AttentionMissed, JobCancelled
from tests import tiny
from tests.workers.bench import Bench, generate, plan_of
from workers.attention.maps import Address, MemoryMaps
from workers.attention.transfer import Capture
from workers.generation.denoise import StepInfo
from workers.models.pipelines import LoadedModel


def test_layers_are_found_in_order(model: LoadedModel) -> None:
    assert [attn.path for attn in model.hooks.attention_modules] == [
        f"blocks.{i}.attn1" for i in range(3)
    ]
    assert (model.card.layers, model.card.heads, model.card.width) == (3, 2, 24)


def test_hooks_change_nothing(bench: Bench) -> None:
    """Against the same weights in a pipeline that never was hooked."""
    untapped = tiny.wan()
    untapped.set_progress_bar_config(disable=True)
    recipe = bench.recipe()
    arguments = bench.model.family.call_arguments([recipe.generation])
    expected = untapped(**arguments | {"output_type": "latent"}).frames[0]
    assert torch.equal(bench.latents_of(recipe)[-1], expected)


def test_frames_are_uint8(bench: Bench) -> None:
    frames = generate(bench.model, bench.recipe())
    assert frames.shape == (5, 32, 32, 3)
    assert frames.dtype == "uint8"
    assert frames.std() > 0


def test_replay_decodes_only_the_edit(bench: Bench) -> None:
    frames = generate(bench.model, bench.edit(bench.recipe(), "some dog"))
    assert frames.shape == (5, 32, 32, 3)


def test_cancel_stops_within_a_step_and_leaves_the_tap_clean(bench: Bench) -> None:
    steps: list[int] = []

    def cancel(info: StepInfo) -> None:
        steps.append(info.step)
        raise JobCancelled("cancelled")

    plain = bench.latents_of(bench.recipe())
    with pytest.raises(JobCancelled):
        generate(bench.model, bench.recipe("some dog"), on_step=cancel)
    assert steps == [0]
    assert bench.model.hooks.current is None
    assert torch.equal(bench.latents_of(bench.recipe()), plain)


def test_a_skipped_layer_is_noticed(bench: Bench) -> None:
    """A first-block cache, or a fusion after loading, would skip hooks in silence."""
    block = bench.model.pipeline.transformer.blocks[1]
    forward = block.forward
    block.forward = lambda hidden_states, *_: hidden_states
    try:
        with pytest.raises(AttentionMissed, match="layer 1"):
            bench.captured(bench.recipe(), "hidden")
        bench.latents_of(bench.recipe())  # what keeps and takes nothing need not know of it
    finally:
        block.forward = forward
    assert bench.model.hooks.current is None


def test_fusing_after_loading_is_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = tiny.load(tiny.wan(), tmp_path_factory.mktemp("late"))
    model.pipeline.transformer.fuse_qkv_projections()
    with pytest.raises(AttentionMissed, match="layer 0"):
        Bench(model).captured(tiny.recipe(model), "hidden")


def test_a_tensor_of_another_shape_is_refused(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "hidden")
    address = Address(1, "cond", 2)
    maps.tensors[address, "hidden"] = maps.tensors[address, "hidden"][:, :-1]
    with pytest.raises(ArtifactCorrupt, match="step 1, layer 2"):
        bench.latents_of(bench.edit(source, "some dog"), transfer_from=maps)


def test_stored_tensors_are_never_written_to(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "hidden")
    before = {key: tensor.clone() for key, tensor in maps.tensors.items()}
    for transfer in ({}, {"strength": 0.5}, {"heads": (0,)}):
        bench.latents_of(bench.edit(source, "some dog", **transfer), transfer_from=maps)
    assert all(torch.equal(before[key], tensor) for key, tensor in maps.tensors.items())


def test_two_runs_at_once_are_refused(bench: Bench) -> None:
    def again(_: StepInfo) -> None:
        generate(bench.model, bench.recipe())

    with pytest.raises(RuntimeError, match="in use"):
        generate(bench.model, bench.recipe(), on_step=again)


def test_a_sink_that_fails_ends_the_run(bench: Bench) -> None:
    class Full(MemoryMaps):
        def put(self, address: Address, name: str, tensor: torch.Tensor) -> None:
            raise OSError("disk full")

    keep = Capture(plan_of("hidden", ("cond",)), Full())
    with pytest.raises(OSError, match="disk full"):
        generate(bench.model, bench.recipe(), capture=keep)
    assert bench.model.hooks.current is None
