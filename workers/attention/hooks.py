"""The hooks themselves: the same functions on every layer, and what they are in compiled code.

A compiled block is one graph for all layers, so a hook may not hold its layer: it finds a mark on
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

from workers.attention.run import Run
from workers.attention.sites import Axis, Site

AXES: tuple[Axis, ...] = ("q", "k")


@dataclass
class Switch:
    """What the hooks of one tap do now. ``places``: whether queries and keys are needed too."""

    run: Run | None = None
    active: bool = False
    places: bool = False

    def set(self, run: Run | None) -> None:
        self.run = run
        self.active = run is not None
        self.places = run is not None and run.uses_places


@dataclass(eq=False)
class Mark:
    """What a hooked module knows of its place; ``number`` names it in compiled code."""

    switch: Switch
    site: Site
    number: Tensor = field(init=False)

    def __post_init__(self) -> None:
        number = next(_NUMBERS)
        self.number = torch.tensor(number)
        _MARKS[number] = self

    @property
    def run(self) -> Run:
        assert self.switch.run is not None
        return self.switch.run


_NUMBERS = itertools.count()
_MARKS: WeakValueDictionary[int, Mark] = WeakValueDictionary()


def install(switch: Switch, site: Site) -> None:
    """Hook every module of ``site``; once, and before anything is compiled."""
    mark = Mark(switch, site)
    modules = [site.module, site.fused]
    for axis in AXES:
        modules += [site.projection(axis), site.norm(axis)]
    for module in modules:
        if module is not None:
            module.retake = mark  # type: ignore[assignment]  # a plain attribute, not a parameter
    site.module.register_forward_pre_hook(_enter)
    site.module.register_forward_hook(_leave)
    if site.fused is not None:
        site.fused.register_forward_hook(_on_fused)
    for axis in AXES:
        projection = site.projection(axis)
        if projection is not None:
            projection.register_forward_pre_hook(_BEFORE[axis])
        place = site.norm(axis) or projection
        if place is not None:
            place.register_forward_hook(_BEHIND[axis])


def _input_hook(axis: Axis) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
    index = AXES.index(axis)

    def before(module: Any, args: tuple[Any, ...]) -> Any:
        mark: Mark = module.retake
        if not mark.switch.active:
            return None
        if torch.compiler.is_compiling():
            return (torch.ops.retake.exchange_input(args[0], mark.number, index), *args[1:])
        swapped = mark.run.at_input(mark.site, axis, args[0])
        return None if swapped is args[0] else (swapped, *args[1:])

    return before


def _place_hook(axis: Axis) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Any]:
    index = AXES.index(axis)

    def behind(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
        mark: Mark = module.retake
        if not mark.switch.places:
            return None
        if torch.compiler.is_compiling():
            exchanged: Tensor = torch.ops.retake.exchange_place(out, mark.number, index)
            return exchanged
        return mark.run.at_place(mark.site, axis, out)

    return behind


_BEFORE = {axis: _input_hook(axis) for axis in AXES}
_BEHIND = {axis: _place_hook(axis) for axis in AXES}


def _on_fused(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
    """With fused projections query and key are the first columns of one output."""
    mark: Mark = module.retake
    if not mark.switch.active:
        return None
    if torch.compiler.is_compiling():
        swapped = torch.ops.retake.exchange_input(args[0], mark.number, 0)
        swapped = torch.ops.retake.exchange_input(swapped, mark.number, 1)
    else:
        swapped = mark.run.at_input(mark.site, "q", args[0])
        mark.run.at_input(mark.site, "k", args[0])
        if swapped is args[0]:
            return None
    value_width = out.shape[-1] // 3
    # the whole product again: a product of fewer columns would differ in its last bit
    source: Tensor = module.forward(swapped)
    return torch.cat([source[..., :-value_width], out[..., -value_width:]], dim=-1)


def _enter(module: Any, args: tuple[Any, ...]) -> None:
    """Only the dense form asks which layer attends; it is not offered for compiled models."""
    mark: Mark = module.retake
    if mark.switch.active and not torch.compiler.is_compiling():
        mark.run.inside, mark.run.seen = mark.site, 0


def _leave(module: Any, args: tuple[Any, ...], out: Any) -> None:
    mark: Mark = module.retake
    if mark.switch.active and not torch.compiler.is_compiling():
        mark.run.inside = None


# An operator's result may not be its input or the stored tensor: generated code writes into
# buffers that it takes for its own. Hence the clones.


def _at_input(mark: Mark, axis: Axis, x: Tensor) -> Tensor:
    return mark.run.at_input(mark.site, axis, x).clone()


def _at_place(mark: Mark, axis: Axis, out: Tensor) -> Tensor:
    return mark.run.at_place(mark.site, axis, out).clone()


# what an operator calls would be traced too, once for every layer
_COMPILER: Any = torch.compiler  # untyped
_UNTRACED_INPUT = _COMPILER.disable(_at_input)
_UNTRACED_PLACE = _COMPILER.disable(_at_place)


@torch.library.custom_op("retake::exchange_input", mutates_args=())
def _exchange_input(x: Tensor, number: Tensor, axis: int) -> Tensor:
    swapped: Tensor = _UNTRACED_INPUT(_MARKS[int(number)], AXES[axis], x)
    return swapped


@torch.library.custom_op("retake::exchange_place", mutates_args=())
def _exchange_place(out: Tensor, number: Tensor, axis: int) -> Tensor:
    exchanged: Tensor = _UNTRACED_PLACE(_MARKS[int(number)], AXES[axis], out)
    return exchanged


@_exchange_input.register_fake
@_exchange_place.register_fake
def _like(x: Tensor, number: Tensor, axis: int) -> Tensor:
    return torch.empty_like(x)
