"""Attention transfer for many seeds at once, for measuring: the method in its shortest form.

Owns hooks on the bundled model's `blocks.i.attn1.to_q` and `to_k`. The product's engine
(`workers.attention`) makes one video at a time and does far more; tests hold the two equal.
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
class Choice:
    """Which of the source's maps an edit takes; None means all."""

    steps: tuple[int, int] | None = None  # from, up to
    layers: tuple[int, ...] | None = None
    branches: tuple[Branch, ...] = BRANCHES
    source_branch: Literal["own", "cond"] = "own"
    strength: float = 1.0
    strength_end: float | None = None  # linear from strength over the transferred steps

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


class Exchange:
    """Hooks of one transformer, idle until `capturing` or `transferring`.

    A run must be one pipeline call with guidance on. A captured run's batch is some seeds; a
    transferring run's batch is those seeds once for each choice, choice by choice.
    """

    def __init__(self, transformer: Network, steps: int) -> None:
        self.steps = steps
        self._kept: dict[tuple[int, Branch, int], Tensor] = {}  # hidden states (B, N, D)
        self._choices: Sequence[Choice | None] = ()
        self._capture, self._calls = False, -1
        transformer.register_forward_pre_hook(self._begin_call)
        for layer, block in enumerate(transformer.blocks):
            block.attn1.to_q.register_forward_pre_hook(self._hook(layer, keep=True))
            block.attn1.to_k.register_forward_pre_hook(self._hook(layer, keep=False))

    def _begin_call(self, module: nn.Module, inputs: Any) -> None:
        self._calls += 1

    def _hook(self, layer: int, keep: bool) -> Any:
        def exchange(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            step, branch = self._calls // 2, BRANCHES[self._calls % 2]
            if self._capture and keep:
                self._kept[step, branch, layer] = inputs[0].clone()
            out = inputs[0].clone() if self._choices else inputs[0]  # (B, N, D)
            rows = len(out) // max(len(self._choices), 1)
            for index, choice in enumerate(self._choices):
                strength = 0.0
                if choice is not None:
                    strength = choice.strength_at(step, layer, branch, self.steps)
                if choice is None or strength == 0.0:
                    continue
                stored = self._kept[step, choice.read_from(branch), layer]
                part = out[index * rows : (index + 1) * rows]
                part.copy_(stored if strength == 1.0 else torch.lerp(part, stored, strength))
            return (out,) if self._choices else None

        return exchange

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Keep the hidden states of the run inside the block, in place of what was kept."""
        self._kept.clear()
        self._capture, self._calls = True, -1
        yield
        self._capture = False
        self._check()

    @contextmanager
    def transferring(self, choices: Sequence[Choice | None]) -> Iterator[None]:
        """Put what was kept into the run inside the block; None leaves its rows alone."""
        self._choices, self._calls = choices, -1
        yield
        self._choices = ()
        self._check()

    def _check(self) -> None:
        if self._calls + 1 != 2 * self.steps:
            raise RuntimeError(f"expected {2 * self.steps} calls a run, saw {self._calls + 1}")
