"""The dense form: attention as an explicit softmax map, for tests and pictures at small N.

It also is the reference that the other forms are tested against (arXiv 2504.10317, eq. 1).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from workers.attention.attention_modules import AttentionModule
from workers.attention.run import Run


class DenseAttention(TorchFunctionMode):
    """While entered, self-attention in a hooked layer is softmax(Q Kᵀ·scale + mask) V, in full."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.attention = run

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        run = self.attention
        if func is F.scaled_dot_product_attention and run.inside is not None:
            return attend(run, run.inside, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def attend(
    run: Run,
    attn: AttentionModule,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention of (B, H, N, d) by its map (B, H, N, N), kept and exchanged as ``run`` says."""
    weights = softmax_map(query, key, attn_mask, scale)
    whole = max(len(weights), run.batch)
    first = run.seen if len(weights) < whole else 0  # Mochi attends row by row
    run.seen += len(weights)
    for swap in list(run.swaps(attn.layer, "map", whole)):
        part = slice(swap.part.start - first, swap.part.stop - first)
        if part.start < 0 or part.stop > len(weights):
            continue
        own = weights[part]
        stored = run.stored(swap, "map", own)
        assert stored is not None
        mixed = torch.lerp(own, stored, swap.strength)
        heads = (
            slice(None)
            if swap.transfer.resolved.heads is None
            else list(swap.transfer.resolved.heads)
        )
        own[:, heads] = mixed[:, heads]
    if run.captures("dense", attn.layer):
        run.keep_parts(attn, "map", weights, first=first, whole=whole)
    return (weights @ value.float()).to(value.dtype)


def softmax_map(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """softmax(Q Kᵀ·scale + mask) in fp32: a bf16 softmax drifts past 1e-2."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = query.float() @ key.float().transpose(-1, -2) * scale
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        logits = logits + mask.float()
    return logits.softmax(dim=-1).nan_to_num(0)  # a row that sees nothing, as fused kernels do
