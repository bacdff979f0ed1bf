"""The hooks themselves: the same functions on every layer, and what they are in compiled code.

A compiled block is one graph for all layers, so a hook may not hold its layer: it finds a site on
its module, and in a graph names the layer by a 0-dim tensor, which an opaque operator looks up
when it runs. Whether a run is open, and what it needs, are plain attributes that Dynamo guards:
one graph each, no recompiles. Dynamo does not guard hooks, so those added after compiling would be
ignored.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from workers.attention.attention_modules import AXES, AttentionModule, Axis
from workers.attention.run import Run


@dataclass
class HookState:
    """What the hooks of one pipeline do now: nothing in a run that keeps and takes no attention.

    ``qk``: whether queries and keys are needed too.
    """

    run: Run | None = None
    active: bool = False
    qk: bool = False

    def set(self, run: Run | None) -> None:
        self.run = run
        self.active = run is not None and run.checked
        self.qk = run is not None and run.uses_qk


@dataclass(eq=False)
class HookSite:
    """What a hooked module knows of its place; ``number`` names it in compiled code."""

    state: HookState
    attn: AttentionModule
    number: Tensor = field(init=False)

    def __post_init__(self) -> None:
        number = next(_NUMBERS)
        self.number = torch.tensor(number)
        _SITES[number] = self

    @property
    def run(self) -> Run:
        assert self.state.run is not None
        return self.state.run


_NUMBERS = itertools.count()
_SITES: WeakValueDictionary[int, HookSite] = WeakValueDictionary()


def install(state: HookState, attn: AttentionModule) -> None:
    """Hook every module of ``attn``; once, and before anything is compiled."""
    site = HookSite(state, attn)
    modules = [attn.module, attn.fused]
    for axis in AXES:
        modules += [attn.projection(axis), attn.norm(axis)]
    for module in modules:
        if module is not None:
            module.retake = site  # type: ignore[assignment]  # a plain attribute, not a parameter
    attn.module.register_forward_pre_hook(_enter)
    attn.module.register_forward_hook(_leave)
    if attn.fused is not None:
        attn.fused.register_forward_hook(_on_fused)
    for axis in AXES:
        projection = attn.projection(axis)
        if projection is not None:
            projection.register_forward_pre_hook(_BEFORE[axis])
            projection.register_forward_hook(_spread)
        place = attn.norm(axis) or projection
        if place is not None:
            place.register_forward_hook(_BEHIND[axis])


def _input_hook(axis: Axis) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
    index = AXES.index(axis)

    def before(module: Any, args: tuple[Any, ...]) -> Any:
        site: HookSite = module.retake
        if not site.state.active:
            return None
        if torch.compiler.is_compiling():
            return (torch.ops.retake.exchange_input(args[0], site.number, index), *args[1:])
        swapped = site.run.at_input(site.attn, axis, args[0])
        return None if swapped is args[0] else (swapped, *args[1:])

    return before


def _qk_hook(axis: Axis) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Any]:
    index = AXES.index(axis)

    def behind(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
        site: HookSite = module.retake
        if not site.state.qk:
            return None
        if torch.compiler.is_compiling():
            exchanged: Tensor = torch.ops.retake.exchange_qk(out, site.number, index)
            return exchanged
        return site.run.at_qk(site.attn, axis, out)

    return behind


_BEFORE = {axis: _input_hook(axis) for axis in AXES}
_BEHIND = {axis: _qk_hook(axis) for axis in AXES}


def _spread(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
    """Rows that share a source are given one product of its states."""
    site: HookSite = module.retake
    if not site.state.active or torch.compiler.is_compiling():
        return None
    whole = site.run.for_all_rows(out)
    # a view of one row; without a norm behind it a processor may rotate it in place
    return whole if site.attn.norm_q is not None or whole is out else whole.contiguous()


def _on_fused(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
    """With fused projections query and key are the first columns of one output."""
    site: HookSite = module.retake
    if not site.state.active:
        return None
    if torch.compiler.is_compiling():
        swapped = torch.ops.retake.exchange_input(args[0], site.number, 0)
        swapped = torch.ops.retake.exchange_input(swapped, site.number, 1)
    else:
        swapped = site.run.at_input(site.attn, "q", args[0])
        site.run.at_input(site.attn, "k", args[0])
        if swapped is args[0]:
            return None
    value_width = out.shape[-1] // 3
    # the whole product again: a product of fewer columns would differ in its last bit
    source: Tensor = module.forward(swapped)
    if not torch.compiler.is_compiling():
        source = site.run.for_all_rows(source)
    return torch.cat([source[..., :-value_width], out[..., -value_width:]], dim=-1)


def _enter(module: Any, args: tuple[Any, ...]) -> None:
    """Only the dense form asks which layer attends; it is not offered for compiled models."""
    site: HookSite = module.retake
    if site.state.active and not torch.compiler.is_compiling():
        site.run.inside, site.run.seen = site.attn, 0


def _leave(module: Any, args: tuple[Any, ...], out: Any) -> None:
    site: HookSite = module.retake
    if site.state.active and not torch.compiler.is_compiling():
        site.run.inside = None


# An operator's result may not be its input or the stored tensor: generated code writes into
# buffers that it takes for its own. Hence the clones.


def _at_input(site: HookSite, axis: Axis, x: Tensor) -> Tensor:
    return site.run.at_input(site.attn, axis, x).clone()


def _at_qk(site: HookSite, axis: Axis, out: Tensor) -> Tensor:
    return site.run.at_qk(site.attn, axis, out).clone()


# what an operator calls would be traced too, once for every layer
_COMPILER: Any = torch.compiler  # untyped
_UNTRACED_INPUT = _COMPILER.disable(_at_input)
_UNTRACED_QK = _COMPILER.disable(_at_qk)


@torch.library.custom_op("retake::exchange_input", mutates_args=())
def _exchange_input(x: Tensor, number: Tensor, axis: int) -> Tensor:
    swapped: Tensor = _UNTRACED_INPUT(_SITES[int(number)], AXES[axis], x)
    return swapped


@torch.library.custom_op("retake::exchange_qk", mutates_args=())
def _exchange_qk(out: Tensor, number: Tensor, axis: int) -> Tensor:
    exchanged: Tensor = _UNTRACED_QK(_SITES[int(number)], AXES[axis], out)
    return exchanged


@_exchange_input.register_fake
@_exchange_qk.register_fake
def _like(x: Tensor, number: Tensor, axis: int) -> Tensor:
    return torch.empty_like(x)
