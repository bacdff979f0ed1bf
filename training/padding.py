"""Training with 32 text tokens at the result of 512: padding tokens are alike, one stands for all.

Owns the cross-attention processor that does it; a saved model has the stock one.
"""

from __future__ import annotations

import math
from typing import Any

from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor

from training.stock import Network
from training.text import PROMPT_TOKENS, TRAIN_TOKENS


class _PaddedTextProcessor(WanAttnProcessor):
    """Cross-attention in which the last text token counts as all the padding up to 512.

    Padding tokens are alike, so one of them with log(n) added to its logit gives the softmax
    of n; training then carries 32 text tokens instead of 512 at the same result.
    """

    def __init__(self, text_tokens: int, total: int = PROMPT_TOKENS):
        super().__init__()  # type: ignore[no-untyped-call]  # diffusers is untyped
        self.text_tokens, self.copies = text_tokens, total - text_tokens + 1

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        bias = hidden_states.new_zeros(1, 1, 1, self.text_tokens)
        bias[..., -1] = math.log(self.copies)
        bias = bias.expand(hidden_states.size(0), attn.heads, hidden_states.size(1), -1)
        out: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, bias, rotary_emb)
        return out


_stock_processor: Any = WanAttnProcessor


def shorten_text(model: Network, text_tokens: int = TRAIN_TOKENS) -> None:
    """Make cross-attention treat the last of `text_tokens` as all of the padding (training)."""
    for block in model.blocks:
        block.attn2.set_processor(_PaddedTextProcessor(text_tokens))


def restore_text(model: Network) -> None:
    """Undo `shorten_text`."""
    for block in model.blocks:
        block.attn2.set_processor(_stock_processor())
