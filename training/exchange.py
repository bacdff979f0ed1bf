"""Attention transfer for many seeds at once, for measuring: the method in its shortest form.

Owns hooks on the bundled model's `blocks.i.attn1.to_q`, `to_k` and `to_v`, what they keep of a
source, and the count of what an edit computes; `training.anchored` has the loop of anchored
edits. The product's engine (`workers.attention`) makes one video at a time and does far more;
tests hold the two equal.
Method: "Analysis of Attention in Video Diffusion Transformers", arXiv 2504.10317.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.stock import Network

Branch = Literal["cond", "uncond"]
BRANCHES: tuple[Branch, ...] = ("cond", "uncond")  # the order of WanPipeline's calls in a step


@dataclass(frozen=True)
class Anchor:
    """How an edit follows its source: which steps it computes, and what it makes of them.

    An edit's output at every step is the source's plus `scale` times the difference of the two
    at the last computed step.
    """

    interval: int = 5  # steps from one computed step to the next
    scale: float = 1.0
    warm_start: int = 0  # first steps that are the source's own
    dense_until: int = 0  # every step before this one is computed
    # which tokens are computed: all; those that differ at the first computed step; the same,
    # chosen anew at every computed step
    region: Literal["all", "first", "renewed"] = "all"
    region_threshold: float = 0.5  # share of Otsu's
    region_growth: int = 2  # tokens
    region_max_share: float = 1.0  # of all tokens; a film with more is computed whole from there on

    def computes(self, step: int) -> bool:
        """Whether the edit computes this step."""
        due = (step - self.warm_start) % self.interval == 0
        return step >= self.warm_start and (due or step < self.dense_until)


@dataclass(frozen=True)
class Choice:
    """How an edit is made and which of the source's maps it takes; None means all.

    Without `anchor` the edit is a whole second generation, as in the paper.
    """

    steps: tuple[int, int] | None = None  # from, up to
    layers: tuple[int, ...] | None = None
    branches: tuple[Branch, ...] = BRANCHES
    source_branch: Literal["own", "cond"] = "own"
    strength: float = 1.0
    strength_end: float | None = None  # linear from strength over the transferred steps
    anchor: Anchor | None = None

    def strength_at(self, step: int, layer: int, branch: Branch, total: int) -> float:
        """Strength at a step, layer and branch of a run of `total` steps; 0 is no transfer."""
        first, stop = self.steps or (0, total)
        if not first <= step < stop or branch not in self.branches:
            return 0.0
        if self.layers is not None and layer not in self.layers:
            return 0.0
        if self.strength_end is None or stop - first == 1:
            return self.strength
        part = (step - first) / (stop - 1 - first)
        return self.strength + (self.strength_end - self.strength) * part

    def read_from(self, branch: Branch) -> Branch:
        """The source's branch whose states go into `branch`."""
        return "cond" if self.source_branch == "cond" else branch


@dataclass(frozen=True)
class Group:
    """Rows of one call that are made alike: the source's seeds, once."""

    index: int  # of the choice in its run
    choice: Choice | None  # None: nothing is transferred
    active: Tensor | None = None  # (B, N) bool, tokens that are computed; None: all


class Exchange:
    """Hooks of one transformer, idle until `capturing`, `transferring` or `computing`.

    A captured run's batch is some seeds; a transferring run's batch is those seeds once for each
    choice, choice by choice. Both are one pipeline call with guidance on.

    Attributes:
        passes: films that went through the transformer, for each choice of the last run.
    """

    def __init__(self, transformer: Network, steps: int) -> None:
        self.steps = steps
        self.passes: list[float] = []
        self._hidden: dict[tuple[int, Branch, int], Tensor] = {}  # (B, N, D)
        self._outputs: dict[tuple[int, Branch], Tensor] = {}  # (B, C, t, h, w)
        self._groups: Sequence[Group] = ()
        self._keep: tuple[Branch, ...] | None = None  # whose hidden states are kept; None: idle
        self._calls = -1
        self._at: tuple[int, Branch] | None = None  # of `computing`; None: by the count of calls
        transformer.register_forward_pre_hook(self._begin_call, with_kwargs=True)
        transformer.register_forward_hook(self._end_call)
        for layer, block in enumerate(transformer.blocks):
            for name in ("to_q", "to_k", "to_v"):
                linear = getattr(block.attn1, name)
                linear.register_forward_pre_hook(self._hook(layer, name))

    def output(self, step: int, branch: Branch) -> Tensor:
        """What the transformer gave for the kept source: (B, C, t, h, w)."""
        return self._outputs[step, branch]

    @property
    def _place(self) -> tuple[int, Branch]:
        return self._at or (self._calls // 2, BRANCHES[self._calls % 2])

    def _begin_call(self, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        self._calls += 1
        for group in self._groups:
            share = 1.0 if group.active is None else group.active.float().mean().item()
            rows = len(named["hidden_states"]) / len(self._groups)
            self.passes[group.index] += rows * share

    def _end_call(self, module: nn.Module, inputs: Any, outputs: tuple[Tensor]) -> None:
        if self._keep is not None:
            self._outputs[self._place] = outputs[0].clone()

    def _hook(self, layer: int, name: str) -> Any:
        def exchange(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            step, branch = self._place
            if self._keep is not None and branch in self._keep and name == "to_q":
                self._hidden[step, branch, layer] = inputs[0].clone()
            if all(group.choice is None for group in self._groups):
                return None
            out = inputs[0].clone()  # (B, N, D)
            for part, group in zip(out.chunk(len(self._groups)), self._groups, strict=True):
                if group.active is not None:
                    stored = self._hidden[step, branch, layer]
                    part.copy_(torch.where(group.active.unsqueeze(-1), part, stored))
                if group.choice is not None and name != "to_v":
                    self._put(part, group.choice, layer)
            return (out,)

        return exchange

    def _put(self, part: Tensor, choice: Choice, layer: int) -> None:
        """The source's states in place of an edit's own, (B, N, D), as far as `choice` says."""
        step, branch = self._place
        strength = choice.strength_at(step, layer, branch, self.steps)
        if strength == 0.0:
            return
        stored = self._hidden[step, choice.read_from(branch), layer]
        part.copy_(stored if strength == 1.0 else torch.lerp(part, stored, strength))

    @contextmanager
    def capturing(self, branches: tuple[Branch, ...] = BRANCHES) -> Iterator[None]:
        """Keep outputs and hidden states of the run inside the block, in place of what was kept.

        Hidden states only of `branches`.
        """
        self._hidden.clear()
        self._outputs.clear()
        self._keep = branches
        try:
            with self.transferring([None]):
                yield
        finally:
            self._keep = None

    @contextmanager
    def transferring(self, choices: Sequence[Choice | None]) -> Iterator[None]:
        """Put what was kept into the run inside the block; None leaves its rows alone."""
        self._groups = [Group(index, choice) for index, choice in enumerate(choices)]
        self.passes, self._calls = [0.0] * len(choices), -1
        try:
            yield
        finally:
            self._groups = ()
        if self._calls + 1 != 2 * self.steps:
            raise RuntimeError(f"expected {2 * self.steps} calls a run, saw {self._calls + 1}")

    @contextmanager
    def computing(self, step: int, groups: Sequence[Group]) -> Iterator[None]:
        """The same for one call of the cond branch at `step`, whose rows are those of `groups`."""
        self._groups, self._at = groups, (step, "cond")
        try:
            yield
        finally:
            self._groups, self._at = (), None
