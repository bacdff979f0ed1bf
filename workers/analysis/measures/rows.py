"""Which rows of a map are looked at, and their weights, block by block.

A row of a map is what one query gives to all keys. All rows, or a sample of them; either way only
a block of rows is held: at N = 32,760 one head's whole map would be 4.3 GB.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_BYTES = {"cpu": 32 << 20, "cuda": 512 << 20}  # of one block's weights in fp32
MOST_BLOCK = 128  # tokens a side of the blocks that block-sparse kernels skip


@dataclass(frozen=True)
class Heads:
    """One layer's attention as it is computed: post-rotary queries and keys.

    ``query``, ``key``: (H, N', d). ``value``: (H, N', d_v), None where it is not known. ``video``:
    which of the N' tokens are the video's; the softmax is over all of them. ``mask``: what is
    added to the logits, or True where a key may be seen, to be broadcast to (H, N', N').
    """

    query: Tensor
    key: Tensor
    value: Tensor | None
    scale: float
    video: slice
    mask: Tensor | None = None

    @property
    def heads(self) -> int:
        return len(self.query)

    @property
    def tokens(self) -> int:
        """The video's, N."""
        return len(range(*self.video.indices(self.query.shape[1])))


@dataclass(frozen=True)
class RowBlock:
    """The weights of some rows. ``index``: (r,) the rows, as numbers among the video's tokens.
    ``numbers``: (r,) the rows, as numbers among those that are looked at.

    ``weights``: (H, r, N) to the video's keys. ``context``: (H, r) to all others (text).
    ``context_entropy``: (H, r) what those add to the row's entropy, in nats. ``value``: (H, N, d)
    the video's, None where it is not known.
    """

    index: Tensor
    numbers: Tensor
    weights: Tensor
    context: Tensor
    context_entropy: Tensor
    value: Tensor | None


@dataclass(frozen=True)
class Rows:
    """The rows that are looked at: ``index`` (r,), in order, of the ``tokens`` that there are.

    ``folds``: of how many maps, where a model folds frames or places into the batch (Latte): the
    same rows of each are looked at, as rows of one mean map.
    """

    index: Tensor
    tokens: int
    folds: int = 1

    @property
    def count(self) -> int:
        return len(self.index) * self.folds

    @property
    def of(self) -> int:
        """How many rows there are in all."""
        return self.tokens * self.folds

    @property
    def sampled(self) -> bool:
        return len(self.index) < self.tokens

    @property
    def half(self) -> Tensor:
        """Which half of the sample a row belongs to: (r,) bool, in turns, so in every block."""
        return torch.arange(len(self.index), device=self.index.device) % 2 == 1


def block_size(tokens: int) -> int:
    """Tokens a side of a block: 128, or at small N what makes eight or more blocks a side."""
    if tokens >= 8 * MOST_BLOCK:
        return MOST_BLOCK
    return 1 << max(0, int(math.log2(max(tokens // 8, 1))))


def all_rows(tokens: int, device: torch.device | str = "cpu", folds: int = 1) -> Rows:
    return Rows(torch.arange(tokens, device=device), tokens, folds)


def sample_rows(
    tokens: int,
    count: int | None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folds: int = 1,
) -> Rows:
    """``count`` rows or a few more: as many, and two at least, out of each block of tokens.

    None, or as many as there are: all rows. The same numbers give the same rows on any device.
    """
    size = block_size(tokens)
    blocks = -(-tokens // size)
    each = max(2, -(-(count or tokens) // blocks))
    each += each % 2  # both halves of the sample have as many rows in every block
    if count is None or each >= size:
        return all_rows(tokens, device, folds)
    noise = torch.Generator().manual_seed(seed)
    drawn = []
    for start in range(0, tokens, size):
        length = min(size, tokens - start)
        part = torch.randperm(length, generator=noise)[:each] + start
        drawn.append(part.sort().values)
    return Rows(torch.cat(drawn).to(device), tokens, folds)


def row_blocks(attention: Heads, rows: Rows, block_bytes: int | None = None) -> Iterator[RowBlock]:
    """The weights softmax(Q Kᵀ·scale + mask) of ``rows``, in fp32."""
    key = attention.key.float()
    total = key.shape[1]
    first = attention.video.indices(total)[0]
    value = None if attention.value is None else attention.value[:, attention.video].float()
    block_bytes = block_bytes or BLOCK_BYTES.get(key.device.type, BLOCK_BYTES["cpu"])
    step = max(1, block_bytes // (4 * total * attention.heads))
    for start in range(0, len(rows.index), step):
        index = rows.index[start : start + step]
        weights = softmax_rows(attention, index + first, key)
        video = weights[..., attention.video]
        if video.shape[-1] == total:
            context = entropy = weights.new_zeros(weights.shape[:2])
        else:
            others = torch.cat(
                [weights[..., :first], weights[..., first + video.shape[-1] :]], dim=-1
            )
            context, entropy = others.sum(-1), torch.special.entr(others).sum(-1)
        numbers = torch.arange(start, start + len(index), device=index.device)
        yield RowBlock(index, numbers, video, context, entropy, value)


def softmax_rows(attention: Heads, queries: Tensor, key: Tensor) -> Tensor:
    """The weights of ``queries`` (r,), numbers among all N' tokens: (H, r, N') fp32.

    ``key``: the attention's, in fp32: a bf16 softmax drifts past 1e-2.
    """
    query = attention.query[:, queries].float() * attention.scale
    logits = query @ key.transpose(1, 2)
    mask = rows_of(attention.mask, queries)
    if mask is not None and mask.dtype == torch.bool:
        logits.masked_fill_(~mask, -torch.inf)
    elif mask is not None:
        logits += mask.float()
    weights = torch.softmax(logits, dim=-1)
    # a row that sees nothing gives nothing, as fused kernels have it
    return weights if mask is None else weights.nan_to_num_(0)


def rows_of(mask: Tensor | None, queries: Tensor) -> Tensor | None:
    """The rows ``queries`` of a mask that may have but one row for all."""
    if mask is None or mask.ndim < 2 or mask.shape[-2] == 1:
        return mask
    return mask[..., queries, :]
