"""Form qk: what is stored whole is not computed again, and whatever else is wanted is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.overrides import TorchFunctionMode

from schemas.attention import CaptureSpec
from schemas.errors import ArtifactCorrupt
from schemas.resolve_capture import resolve_capture
from tests.workers.bench import Bench, generate
from tests.workers.families.cases import CASES, Case, Runs
from workers.attention.attention_modules import AttentionModule
from workers.attention.maps import Address, MemoryMaps
from workers.attention.transfer import Capture
from workers.generation.denoise import StepInfo


class Computed(TorchFunctionMode):
    """Notes the weights of every torch function that is called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: set[int] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        self.weights |= {id(each) for each in given if isinstance(each, nn.Parameter)}
        return func(*args, **(kwargs or {}))


def weights(*modules: nn.Module | None) -> set[int]:
    return {id(each) for module in modules if module for each in module.parameters()}


def queries_and_keys(attn: AttentionModule) -> set[int]:
    return weights(attn.to_q, attn.to_k, attn.norm_q, attn.norm_k)


def used(bench: Bench, noted: Computed) -> list[bool]:
    """Of each layer: whether anything of its query and key was computed."""
    found = [queries_and_keys(attn) & noted.weights for attn in bench.model.hooks.attention_modules]
    for attn, each in zip(bench.model.hooks.attention_modules, found, strict=True):
        assert each in (set(), queries_and_keys(attn)), "a half of the way"
    return [bool(each) for each in found]


def runs_of(name: str, folder: Path, **settings: Any) -> Runs:
    case: Case = next(case for case in CASES if case.name == name)
    return Runs(case.load(folder, **settings), case=case)


# norms over all heads (wan, ltx), of each head (hunyuan 1.5, mochi, kandinsky), and none (allegro)
ALONE = ("wan", "ltx", "hunyuan-video-1.5", "kandinsky-5", "mochi", "allegro", "latte", "cosmos")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "wan" else pytest.mark.slow) for name in ALONE],
)
def test_nothing_of_it_is_computed(name: str, folder: Path) -> None:
    """And the edit is the one of form hidden, which computes it all, to the bit."""
    runs = runs_of(name, folder)
    maps = runs.maps("qk")
    with Computed() as noted:
        edit = runs.latents_of(runs.edit(runs.source, "some dog"), transfer_from=maps, form="qk")
    assert not any(used(runs, noted))
    assert torch.equal(edit, runs.edited("hidden"))
    assert not torch.equal(edit, runs.plain("some dog"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "projected"),
    # Motif's first layers have projections of their own for text
    [("cogvideox", [True, True]), ("motif-video", [False, True, True])],
)
def test_text_among_the_tokens_is_still_projected(
    name: str, projected: list[bool], folder: Path
) -> None:
    runs = runs_of(name, folder)
    runs.maps("qk")
    with Computed() as noted:
        edit = runs.edited("qk")
    assert used(runs, noted) == projected
    assert torch.equal(edit, runs.edited("hidden"))


def test_a_stored_query_of_the_text_too_is_refused(folder: Path) -> None:
    runs = runs_of("cogvideox", folder)
    (attn, *_), lengths = runs.model.hooks.attention_modules, []
    assert attn.to_q is not None
    with attn.to_q.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1])):
        maps, _ = runs.captured(runs.source, "qk")
    for key, tensor in maps.tensors.items():
        longer = lengths[0] - tensor.shape[1]
        maps.tensors[key] = nn.functional.pad(tensor, (0, 0, 0, longer))
    with pytest.raises(ArtifactCorrupt, match="the source's q of step 0, layer 0"):
        runs.latents_of(runs.edit(runs.source, "some dog"), transfer_from=maps, form="qk")


@pytest.mark.parametrize(
    "transfer",
    [{"strength": 0.5}, {"heads": (0,)}, {"branches": ("cond",)}, {"steps": (1,)}],
    ids=lambda transfer: next(iter(transfer)),
)
def test_what_is_mixed_or_left_alone_is_computed(bench: Bench, transfer: dict[str, Any]) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")
    edit = bench.edit(source, "some dog", **transfer)
    with Computed() as noted:
        mixed = bench.latents_of(edit, transfer_from=maps, form="qk")
    assert all(used(bench, noted))
    hidden, _ = bench.captured(source, "hidden")
    assert torch.equal(mixed, bench.latents_of(edit, transfer_from=hidden))


def test_only_the_layers_that_are_named_are_skipped(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")
    edit = bench.edit(source, "some dog", layers=(1,))
    with Computed() as noted:
        bench.latents_of(edit, transfer_from=maps, form="qk")
    assert used(bench, noted) == [True, False, True]


def test_half_of_a_batch_is_not_enough(folder: Path) -> None:
    """Both branches in one call: the other one's queries are needed."""
    runs = runs_of("ltx", folder)
    maps = runs.maps("qk")
    edit = runs.edit(runs.source, "some dog", branches=("cond",))
    with Computed() as noted:
        runs.latents_of(edit, transfer_from=maps, form="qk")
    assert all(used(runs, noted))


def test_what_was_put_in_is_captured_again(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")
    edit = bench.edit(source, "some dog")
    again = MemoryMaps()
    spec = CaptureSpec(form="qk", scope="everything")
    plan = resolve_capture(spec, bench.model.card, edit)
    bench.latents_of(edit, transfer_from=maps, form="qk", capture=Capture(plan, again))
    assert again.tensors.keys() == maps.tensors.keys()
    for (address, name), tensor in again.tensors.items():
        if name in ("q", "k"):
            assert torch.equal(tensor, maps.tensors[address, name])


def test_stored_queries_and_keys_are_never_written_to(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")
    before = {key: tensor.clone() for key, tensor in maps.tensors.items()}
    bench.latents_of(bench.edit(source, "some dog"), transfer_from=maps, form="qk")
    assert all(torch.equal(before[key], tensor) for key, tensor in maps.tensors.items())


def test_another_shape_is_refused(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")
    address = Address(1, "cond", 2)
    maps.tensors[address, "k"] = maps.tensors[address, "k"][..., :-1]
    with pytest.raises(ArtifactCorrupt, match="step 1, layer 2"):
        bench.latents_of(bench.edit(source, "some dog"), transfer_from=maps, form="qk")


def test_the_modules_are_as_before_however_it_ends(bench: Bench) -> None:
    source = bench.recipe()
    maps, _ = bench.captured(source, "qk")

    def stop(_: StepInfo) -> None:
        assert "forward" in vars(bench.model.hooks.attention_modules[0].to_q)
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        generate(
            bench.model,
            bench.edit(source, "some dog"),
            transfer_from=maps,
            form="qk",
            on_step=stop,
        )
    for attn in bench.model.hooks.attention_modules:
        for module in (attn.to_q, attn.to_k, attn.norm_q, attn.norm_k):
            assert "forward" not in vars(module)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"offload": "group"}, {"quantization": "fp8"}, {"compile": "eager"}],
    ids=lambda settings: next(iter(settings)),
)
def test_in_other_modes(folder: Path, settings: dict[str, Any]) -> None:
    """Exact within each; compiled code computes what it then overwrites."""
    runs = runs_of("wan", folder, **settings)
    plain: Tensor = runs.plain("a car")
    own = runs.edit(runs.source, "a car")
    assert torch.equal(runs.latents_of(own, transfer_from=runs.maps("qk"), form="qk"), plain)
    assert torch.equal(runs.edited("qk"), runs.edited("hidden"))
    assert torch.equal(runs.latents_of(runs.source), plain)


@pytest.mark.slow
def test_compiled_code_stays_one_graph_for_all_layers_and_steps(folder: Path) -> None:
    runs = runs_of("wan", folder, compile="eager")
    maps = runs.maps("qk")
    torch._dynamo.reset()
    counters.clear()
    runs.latents_of(runs.edit(runs.source, "some dog"), transfer_from=maps, form="qk")
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 1
