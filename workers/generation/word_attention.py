"""Where a run looks at a word of its prompt: its cross-attention, of one call of the transformer.

Queries are the video's tokens, keys the text's: softmax(Q Kᵀ / √d), of it the columns of the word's
tokens, summed, and the mean over heads and layers. Such maps are DAAM's (arXiv 2210.04885), which
takes the mean over all steps too.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.families.base import Family

_BLOCK_BYTES = 64 << 20  # of logits at a time, float32
Gather = Callable[[Tensor], None]


@contextmanager
def watched_word(
    family: Family, transformers: list[nn.Module], tokens: tuple[int, ...], gather: Gather
) -> Iterator[None]:
    """Give ``gather``, of each layer that is run within the block, how much every token of the
    video looks at ``tokens`` of the text: (N,) float32, 0 to 1. The calls are of one row."""
    assert family.cross_attention is not None
    handles = []
    for transformer in transformers:
        for path, module in transformer.named_modules():
            if re.fullmatch(family.cross_attention, path):
                handles += _hooked(module, tokens, gather)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooked(module: nn.Module, tokens: tuple[int, ...], gather: Gather) -> list[Any]:
    """Hooks behind the norms, where queries and keys are what the processor multiplies, however
    they were projected. A processor norms the queries first."""
    queries: list[Tensor] = []
    heads = int(module.heads)  # type: ignore[arg-type]

    def keep_query(_: nn.Module, __: Any, query: Tensor) -> None:
        queries[:] = [query]

    def look(_: nn.Module, __: Any, key: Tensor) -> None:
        (query,) = queries
        queries.clear()
        gather(share_of(tokens, query, key, heads))

    norms = module.get_submodule("norm_q"), module.get_submodule("norm_k")
    return [
        norm.register_forward_hook(hook)
        for norm, hook in zip(norms, (keep_query, look), strict=True)
    ]


def share_of(tokens: tuple[int, ...], query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Of the attention of ``query`` (1, N, H·d) to ``key`` (1, T, H·d) what goes to ``tokens``,
    the mean over heads: (N,) float32. In blocks of queries, since all of it may not fit."""
    split_query = query[0].view(len(query[0]), heads, -1).transpose(0, 1)  # (H, N, d)
    split_key = key[0].view(len(key[0]), heads, -1).permute(1, 2, 0).float()  # (H, d, T)
    places = torch.tensor(tokens, device=key.device)
    rows = max(1, _BLOCK_BYTES // (4 * heads * key.shape[1]))
    shares = []
    for block in torch.split(split_query, rows, dim=1):
        logits = block.float() @ split_key * split_key.shape[1] ** -0.5  # (H, n, T)
        weights = logits.softmax(-1)
        shares.append(weights.index_select(-1, places).sum(-1).mean(0))
    return torch.cat(shares)
