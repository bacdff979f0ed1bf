"""Changes to attention, row by row of the map and never N x N: what a run is made with.

Each acts on the video's queries alone, in the layers, heads, steps and branches that it names. Text
that shares the attention keeps its keys and its own rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from schemas.attention import Branch
from workers.analysis.measures.rows import BLOCK_BYTES, Heads, softmax_rows
from workers.analysis.measures.sparsity import kept_keys


class Change(Protocol):
    """One change."""

    def heads_at(self, step: int, branch: Branch, layer: int, heads: int) -> list[int]:
        """Which of a layer's ``heads`` it changes there."""

    def output(self, attention: Heads, layer: int, heads: list[int]) -> Tensor:
        """What ``attention``, those heads alone, gives the video's queries: (h, N, d_v)."""


@dataclass(frozen=True)
class Where:
    """Steps and branches; None: all of them."""

    steps: frozenset[int] | None = None
    branches: frozenset[Branch] | None = None

    def holds(self, step: int, branch: Branch) -> bool:
        in_step = self.steps is None or step in self.steps
        return in_step and (self.branches is None or branch in self.branches)


EVERYWHERE = Where()


@dataclass(frozen=True)
class Sparsify:
    """Keep the largest share ``density`` of each row's weights to the video, and renormalise.

    ``temperature``: of the softmax before; ``keep`` random is the control of the same budget. At
    density 1 and temperature 1 nothing is computed anew.
    """

    layers: frozenset[int]
    density: float = 1.0
    temperature: float = 1.0
    keep: Literal["largest", "random"] = "largest"
    heads: tuple[int, ...] | None = None
    where: Where = EVERYWHERE
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density: {self.density} is not allowed; allowed is above 0, up to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature} is not allowed; allowed is above 0")

    def heads_at(self, step: int, branch: Branch, layer: int, heads: int) -> list[int]:
        idle = self.density == 1 and self.temperature == 1
        if idle or layer not in self.layers or not self.where.holds(step, branch):
            return []
        return list(range(heads)) if self.heads is None else list(self.heads)

    def output(self, attention: Heads, layer: int, heads: list[int]) -> Tensor:
        tempered = replace(attention, scale=attention.scale / self.temperature)
        kept = kept_keys(self.density, attention.tokens)
        if kept == attention.tokens:
            return attend(tempered)
        noise = torch.Generator(attention.key.device).manual_seed(self.seed * 1009 + layer)
        return attend_sparsely(tempered, kept, noise if self.keep == "random" else None)


@dataclass(frozen=True)
class AblateColumns:
    """Take tokens out of a head's map: of what every query sees.

    ``columns``: the tokens, numbered among the video's, of each (layer, head). ``how`` out: their
    columns are left out and rows renormalised; value: their values are zero.
    """

    columns: Mapping[tuple[int, int], tuple[int, ...]]
    how: Literal["out", "value"] = "out"
    where: Where = EVERYWHERE

    def heads_at(self, step: int, branch: Branch, layer: int, heads: int) -> list[int]:
        if not self.where.holds(step, branch):
            return []
        return sorted(head for at, head in self.columns if at == layer)

    def output(self, attention: Heads, layer: int, heads: list[int]) -> Tensor:
        gone = torch.zeros(attention.key.shape[:2], dtype=torch.bool, device=attention.key.device)
        first = attention.video.indices(attention.key.shape[1])[0]
        for place, head in enumerate(heads):
            gone[place, [first + token for token in self.columns[layer, head]]] = True
        if self.how == "out":
            return attend(replace(attention, mask=without(attention.mask, gone[:, None, :])))
        assert attention.value is not None
        return attend(replace(attention, value=attention.value.masked_fill(gone[..., None], 0)))


@dataclass(frozen=True)
class AblateHeads:
    """Heads that give nothing. ``heads``: as (layer, head)."""

    heads: frozenset[tuple[int, int]]
    where: Where = EVERYWHERE

    def heads_at(self, step: int, branch: Branch, layer: int, heads: int) -> list[int]:
        if not self.where.holds(step, branch):
            return []
        return sorted(head for at, head in self.heads if at == layer)

    def output(self, attention: Heads, layer: int, heads: list[int]) -> Tensor:
        assert attention.value is not None
        return torch.zeros_like(attention.value[:, attention.video])


def without(mask: Tensor | None, gone: Tensor) -> Tensor:
    """``mask`` with the keys that are ``gone`` (h, 1, N') hidden."""
    if mask is None:
        return ~gone
    if mask.dtype == torch.bool:
        return mask & ~gone
    return mask.masked_fill(gone, -torch.inf)


def attend(attention: Heads) -> Tensor:
    """softmax(Q Kᵀ·scale + mask) V of the video's queries, by the fused kernel: (h, N, d_v)."""
    assert attention.value is not None
    mask = attention.mask
    if mask is not None:
        mask = mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., attention.video, :]
        # (h, N or 1, N'), stretched and not copied
        mask = mask.expand(attention.heads, *mask.shape[-2:])[None]
    output: Tensor = F.scaled_dot_product_attention(
        attention.query[None, :, attention.video],
        attention.key[None],
        attention.value[None],
        attn_mask=mask,
        scale=attention.scale,
    )
    return output[0]


def attend_sparsely(
    attention: Heads, kept: int, noise: torch.Generator | None, block_bytes: int | None = None
) -> Tensor:
    """The same with ``kept`` weights of each row to the video, the largest or (``noise``) random
    ones, and those to the text; rows renormalised. Block by block of rows, in fp32."""
    assert attention.value is not None
    key, value = attention.key.float(), attention.value.float()
    total = key.shape[1]
    first = attention.video.indices(total)[0]
    block_bytes = block_bytes or BLOCK_BYTES.get(key.device.type, BLOCK_BYTES["cpu"])
    step = max(1, block_bytes // (4 * total * attention.heads))
    outputs = []
    for start in range(0, attention.tokens, step):
        stop = min(start + step, attention.tokens)
        index = torch.arange(first + start, first + stop, device=key.device)
        weights = softmax_rows(attention, index, key)  # (h, r, N')
        video = weights[..., attention.video]
        drop_smallest(video, kept, noise)
        whole = weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        outputs.append(weights @ value / whole)
    return torch.cat(outputs, dim=1).to(attention.value.dtype)


def drop_smallest(weights: Tensor, kept: int, noise: torch.Generator | None) -> None:
    """Set all but ``kept`` of each row (h, r, N) to 0, in place: the largest, or random ones."""
    order = weights
    if noise is not None:
        order = torch.rand(weights.shape, generator=noise, device=weights.device)
    dropped = order.topk(weights.shape[-1] - kept, dim=-1, largest=False, sorted=False).indices
    weights.scatter_(-1, dropped, 0.0)
