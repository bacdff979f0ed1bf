"""Anchored edits: the transformer's calls answered from the source's outputs.

The stock pipeline and its scheduler run as ever; what they are given differs. At a computed step
the cond branch of the edit is run on its own latents, and its difference d from the source's cond
output is kept until the next; every call, of whatever branch, is answered with what the source's
gave, plus scale · d. So the pipeline's own guidance makes v_guided of the source plus scale · d,
whatever its formula: it is linear in what all branches share. The idea of a difference of
velocities is FlowEdit's (arXiv 2412.08629); docs/experiments/model.md has the measurements.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from schemas.artifacts import COMPUTED, INPUTS, OUTPUTS
from schemas.attention import Anchor, Branch
from schemas.errors import ArtifactCorrupt
from workers.attention.attention_hooks import AttentionHooks
from workers.attention.maps import Address, MapSource
from workers.attention.run import Run
from workers.attention.transfer import Transfer
from workers.attention.transformer_calls import extra_names, tensors_of
from workers.generation.replaced import replaced

Tensors = tuple[Tensor, ...]


class AnchoredCalls:
    """Of one run: each row of its batch follows the source that its transfer names."""

    def __init__(self, hooks: AttentionHooks, run: Run, transfers: Sequence[Transfer]) -> None:
        self._hooks, self._run, self._transfers = hooks, run, transfers
        self._differences: list[Tensors] = []  # of each row, float32: (1, …)
        self._returned: Any = None  # what the transformer last gave, for its type

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Answer the transformers' calls within the block."""
        with contextlib_stack() as stack:
            for transformer in self._hooks.transformers:
                forward = self._answering(transformer, transformer.forward)
                stack.enter_context(replaced(transformer, "forward", forward))
            yield
