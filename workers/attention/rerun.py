"""The latents form: keep what the transformer was called with, rerun its first layers later.

A rerun costs 1 + (last + 1)/L of a plain call and stores a two-hundredth of the hidden form.
"""

import copy
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from schemas.artifacts import INPUTS
from schemas.attention import Branch, Form
from schemas.errors import ArtifactMissing
from workers.attention.maps import Address, MapSource, MemoryMaps
from workers.attention.run import Capture, Run, Transfer
from workers.families.base import Family

if TYPE_CHECKING:
    from workers.attention.tap import Tap


def keep_inputs(family: Family, run: Run, module: nn.Module, inputs: dict[str, Any]) -> None:
    """Give the last row's inputs of this call to the run's sink.

    ``input`` changes every step and is the same in both branches; the conditions (text, masks,
    embedded guidance) are kept once, at step 0, for each branch.
    """
    capture = run.capture
    if capture is None or capture.form != "latents" or run.step not in capture.steps:
        return
    for b, branch in enumerate(run.here):
        for name, key, per_step in _stored_names(family, module):
            value = inputs.get(name)
            if not isinstance(value, Tensor) or (per_step and branch != "cond"):
                continue
            if per_step or run.step == 0:
                size = len(value) // run.batch
                end = (b + 1) * len(run.rows) * size
                capture.sink.put(Address(run.step, branch, INPUTS), key, value[end - size : end])


def _stored_names(family: Family, module: nn.Module) -> Iterator[tuple[str, str, bool]]:
    """(argument, its name in the artifact, whether it changes with the steps)."""
    names = [name for name in inspect.signature(type(module).forward).parameters if name != "self"]
    for place, name in enumerate(names):
        if name in family.step_inputs:
            index = family.step_inputs.index(name)
            yield name, "input" if index == 0 else f"input_{'abcdef'[index]}", True
        elif name not in family.own_inputs:
            yield name, f"condition_{chr(ord('a') + place)}", False


class RerunSource:
    """Yields a source's attention by running its first layers from its stored inputs.

    One call of the edit's is rerun when its first layer is asked for: memory is the hidden states
    of ``layers`` in one call. ``hidden_layers``: those that ``stored`` holds as they are, which
    need no rerun. ``branches``: the source's, in their order within a step, where they
    are not the edit's. ``transfer``: what the source itself was edited with, if it was an
    edit; ``form`` is ``qk`` where that left it queries and keys of no hidden state, else
    ``hidden``.
    """

    def __init__(
        self,
        tap: "Tap",
        stored: MapSource,
        *,
        layers: frozenset[int],
        hidden_layers: frozenset[int] = frozenset(),
        branches: tuple[Branch, ...] | None = None,
        transfer: Transfer | None = None,
        form: Form = "hidden",
    ) -> None:
        self.tap = tap
        self.stored = stored
        self.layers = layers
        self.hidden_layers = hidden_layers
        self.branches = branches
        self.transfer = transfer
        self.form = form
        self._ready = MemoryMaps()
        self._short: dict[int, nn.Module] = {}

    def get(self, address: Address, name: str) -> Tensor:
        if address.layer in self.hidden_layers:
            return self.stored.get(address, name)
        if address.layer not in self.layers:
            raise ArtifactMissing(f"layer {address.layer} is not among those that are rerun")
        if (address, name) not in self._ready.tensors:
            self._rerun(address)
        return self._ready.get(address, name)

    def _rerun(self, address: Address) -> None:
        edit = self.tap.current
        assert edit is not None
        assert edit.module is not None
        order = (self.branches or edit.branches) if edit.batched else (address.branch,)
        run = Run(
            total_steps=edit.total_steps,
            branches=order,
            batched=True,
            tokens=edit.tokens,
            capture=Capture(
                self.form, self.layers, frozenset({address.step}), frozenset(order), MemoryMaps()
            ),
            rows=(self.transfer,),
        )
        run.step = address.step
        inputs = self._inputs(edit, order, address.step)
        self._ready = MemoryMaps()  # before the next call's fill their own room
        with self.tap.swapped_in(run), torch.no_grad():
            run.begin_call(edit.module, inputs)
            # the class's own forward: an offload hook's wrapper would call the whole model
            type(edit.module).forward(self._shortened(edit.module), **inputs)
        assert run.capture is not None
        assert isinstance(run.capture.sink, MemoryMaps)
        self._ready = run.capture.sink

    def _inputs(self, edit: Run, order: tuple[Branch, ...], step: int) -> dict[str, Any]:
        """The source's inputs of this call: the edit's own, with what was stored put in."""
        module, family = edit.module, self.tap.family
        assert module is not None
        inputs = dict(edit.inputs)
        size = edit.batch
        for name in family.own_inputs:
            own = inputs.get(name)
            if isinstance(own, Tensor) and own.ndim and len(own) == size:
                inputs[name] = own[:1].expand(len(order), *own.shape[1:])
        for name, key, per_step in _stored_names(family, module):
            own = inputs.get(name)
            if not isinstance(own, Tensor):
                continue
            parts = [
                self.stored.get(
                    Address(step, "cond", INPUTS) if per_step else Address(0, branch, INPUTS),
                    key,
                )
                for branch in order
            ]
            inputs[name] = torch.cat(parts).to(own.dtype)
        return inputs

    def _shortened(self, module: nn.Module) -> nn.Module:
        """``module`` sharing all its weights, without the blocks behind the last wanted layer."""
        if id(module) not in self._short:
            self._short[id(module)] = shorten(module, self.tap, max(self.layers))
        return self._short[id(module)]


def shorten(module: nn.Module, tap: "Tap", last: int) -> nn.Module:
    """A copy of ``module``, weights shared, that stops behind layer ``last``."""
    counts: dict[str, int] = {}
    for site in tap.sites_of(module):
        blocks, _, number = site.block.rpartition(".")
        index = int(number)
        counts.setdefault(blocks, 0)
        if site.layer <= last:
            counts[blocks] = max(counts[blocks], index + 1)
    if tap.family.interleaved:
        counts = dict.fromkeys(counts, max(counts.values()))
    short = copy.copy(module)
    short.__dict__["_modules"] = dict(module._modules)
    short.__dict__.pop("forward", None)
    for path, count in counts.items():
        blocks_list = module.get_submodule(path)
        assert isinstance(blocks_list, nn.ModuleList)
        short._modules[path] = blocks_list[:count]
    return short
