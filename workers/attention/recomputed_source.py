"""The latents form: keep what the transformer was called with, rerun its first layers later.

A rerun up to the input of layer ``last`` (of L, from 0) costs 1 + last/L of a plain call, and
stores a two-hundredth of the hidden form.
"""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from schemas.attention import Branch, Form
from schemas.capture_plan import INPUTS, TENSOR_NAMES, CapturePlan
from schemas.errors import ArtifactMissing
from workers.attention.attention_hooks import AttentionHooks
from workers.attention.maps import Address, MapSource, MemoryMaps, TensorCache
from workers.attention.run import Run
from workers.attention.thread_coroutine import ThreadCoroutine
from workers.attention.transfer import Capture, Transfer
from workers.attention.transformer_calls import stored_names


class RecomputedLayer:
    """The sink of a source's forward: the tensors of the layer that it is at, one by one."""

    def __init__(self, forward: ThreadCoroutine) -> None:
        self._forward = forward
        self.clear()

    def clear(self) -> None:
        self.layer = 0
        self._tensors = MemoryMaps()

    @property
    def count(self) -> int:
        return len(self._tensors.tensors)

    def has(self, address: Address, name: str) -> bool:
        return (address, name) in self._tensors.tensors

    def get(self, address: Address, name: str) -> Tensor:
        """Raises ArtifactMissing."""
        return self._tensors.get(address, name)

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        """On the source's thread: it waits here until more is wanted."""
        if address.layer != self.layer:
            self._tensors = MemoryMaps()
            self.layer = address.layer
        self._tensors.put(address, name, tensor)
        self._forward.pause()


class RecomputedSource:
    """Yields a source's attention by running its first layers from its stored inputs.

    The source's forward runs in lockstep with the edit's: it goes on to the layer that the edit
    asks for and waits there, so that memory is the hidden states of one layer, in each branch of
    the call. What lies behind that layer is asked for of the same forward; anything else begins
    it again. ``close`` it after the run, however that ends.

    ``hidden_layers``: those that ``stored`` holds as they are, which need no rerun. ``branches``:
    the source's, in their order within a step, where they are not the edit's. ``transfer``: what
    the source itself was edited with, if it was an edit; ``form`` is ``qk`` where that left it
    queries and keys of no hidden state, else ``hidden``. ``kept``: what earlier edits of the same
    stored source computed, and where this one's goes.
    """

    def __init__(
        self,
        hooks: AttentionHooks,
        stored: MapSource,
        *,
        layers: frozenset[int],
        hidden_layers: frozenset[int] = frozenset(),
        branches: tuple[Branch, ...] | None = None,
        transfer: Transfer | None = None,
        form: Form = "hidden",
        kept: TensorCache | None = None,
    ) -> None:
        self.hooks = hooks
        self.stored = stored
        self.layers = layers
        self.hidden_layers = hidden_layers
        self.branches = branches
        self.transfer = transfer
        self.form = form
        self.kept = kept
        self._forward = ThreadCoroutine("source-rerun")
        self._run: Run | None = None
        self._shown = RecomputedLayer(self._forward)
        self._short: dict[int, nn.Module] = {}

    def get(self, address: Address, name: str) -> Tensor:
        if address.layer in self.hidden_layers:
            try:
                return self.stored.get(address, name)
            except ArtifactMissing:
                # of a source's calls that a journal answered there are inputs and outputs alone
                self.layers, self.hidden_layers = self.layers | self.hidden_layers, frozenset()
                self._short.clear()
        if address.layer not in self.layers:
            raise ArtifactMissing(f"layer {address.layer} is not among those that are rerun")
        tensor = None if self.kept is None else self.kept.get(address, name)
        return self._compute(address, name) if tensor is None else tensor

    def _compute(self, address: Address, name: str) -> Tensor:
        if not self._shown.has(address, name) and not self._lies_ahead(address):
            self._begin(address)
        while not self._shown.has(address, name) and self._goes_on():
            pass
        tensor = self._shown.get(address, name)
        if address.layer == max(self.layers) and self._shown.count == self._whole_layer:
            self._forward.abandon()  # nothing of what follows is wanted
        if self.kept is not None:
            self.kept.put(address, name, tensor)
        return tensor

    def close(self) -> None:
        """End the source's forward and its thread. Safe to call again."""
        self._forward.close()
        self._shown.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lies_ahead(self, address: Address) -> bool:
        """Whether the forward under way may still come to it."""
        run = self._run
        if run is None or address.step != run.step or address.branch not in run.branches:
            return False
        return address.layer >= self._shown.layer

    def _goes_on(self) -> bool:
        """Let the source's forward run to its next tensor. False: it has ended."""
        assert self._run is not None
        with self.hooks.swapped_in(self._run):
            return self._forward.resume()

    @property
    def _whole_layer(self) -> int:
        """How many tensors a layer shows in one call."""
        assert self._run is not None
        return len(TENSOR_NAMES[self.form]) * len(self._run.branches)

    def _begin(self, address: Address) -> None:
        edit = self.hooks.current
        assert edit is not None
        assert edit.module is not None
        module = edit.module
        order = (self.branches or edit.branches) if edit.batched else (address.branch,)
        self._forward.abandon()
        self._shown.clear()
        run = Run(
            total_steps=edit.total_steps,
            branches=order,
            batched=True,
            tokens=edit.tokens,
            capture=Capture(self._plan(address.step, order), self._shown),
            transfers=(self.transfer,),
        )
        run.step = address.step
        inputs = self._inputs(edit, order, address.step)

        def forward() -> None:
            run.begin_call(module, inputs)
            with torch.no_grad():
                # the class's own forward: an offload hook's wrapper would call the whole model
                type(module).forward(self._shortened(module), **inputs)

        edit.passes += (max(self.layers) + 1) / self.hooks.layers * len(order)
        self._run = run
        self._forward.begin(forward)

    def _plan(self, step: int, branches: tuple[Branch, ...]) -> CapturePlan:
        return CapturePlan(
            form=self.form,
            codec="raw",
            layers=tuple(sorted(self.layers)),
            steps=(step,),
            branches=branches,
        )

    def _inputs(self, edit: Run, order: tuple[Branch, ...], step: int) -> dict[str, Any]:
        """The source's inputs of this call: the edit's own, with what was stored put in."""
        module, family = edit.module, self.hooks.family
        assert module is not None
        inputs = dict(edit.inputs)
        size = edit.batch
        for name in family.own_inputs:
            own = inputs.get(name)
            if isinstance(own, Tensor) and own.ndim and len(own) == size:
                inputs[name] = own[:1].expand(len(order), *own.shape[1:])
        for name, key, per_step in stored_names(family, module):
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
            self._short[id(module)] = shorten(module, self.hooks, max(self.layers))
        return self._short[id(module)]


def shorten(module: nn.Module, hooks: AttentionHooks, last: int) -> nn.Module:
    """A copy of ``module``, weights shared, that stops behind layer ``last``."""
    counts: dict[str, int] = {}
    for attn in hooks.modules_of(module):
        blocks, _, number = attn.block.rpartition(".")
        index = int(number)
        counts.setdefault(blocks, 0)
        if attn.layer <= last:
            counts[blocks] = max(counts[blocks], index + 1)
    if hooks.family.interleaved:
        counts = dict.fromkeys(counts, max(counts.values()))
    short = copy.copy(module)
    short.__dict__["_modules"] = dict(module._modules)
    short.__dict__.pop("forward", None)
    for path, count in counts.items():
        blocks_list = module.get_submodule(path)
        assert isinstance(blocks_list, nn.ModuleList)
        short._modules[path] = blocks_list[:count]
    return short
