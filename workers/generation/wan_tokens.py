"""Wan's transformer over some of the video's tokens: the others are their source's.

Between the embedding of the patches and the projection of the output Wan's blocks treat each token
alone, but for self-attention. So the tokens that are computed are gathered before the first block
and put back behind the last: queries, norms, cross-attention and feed-forward are theirs alone. In
self-attention they see all tokens, the others by keys and values of the source's hidden states.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from workers.attention.attention_hooks import AttentionHooks
from workers.attention.attention_modules import AttentionModule, split_heads
from workers.attention.run import Run
from workers.generation.region import Patch
from workers.patching import replaced


@contextmanager
def some_tokens(hooks: AttentionHooks) -> Iterator[None]:
    """Within the block the transformers compute those tokens that the open run names.

    A run without ``active`` (the rerun of a source, say) computes all, as ever.
    """
    with ExitStack() as undo:
        for transformer in hooks.transformers:
            blocks: Any = transformer.blocks
            embedded = _Gather(hooks)
            undo.callback(blocks[0].register_forward_pre_hook(embedded).remove)
            projected: Any = transformer.proj_out
            undo.callback(projected.register_forward_hook(_Scatter(hooks)).remove)
            for attn in hooks.modules_of(transformer):
                module: Any = attn.module
                processor = SomeQueries(hooks, attn, module.processor)
                undo.enter_context(replaced(module, "processor", processor))
        yield


def inputs_of(inputs: dict[str, Any], active: Tensor) -> dict[str, Any]:
    """``inputs`` of a call that computes ``active`` (n,): Wan2.2 5B has a time for each token."""
    timestep = inputs["timestep"]
    return inputs | {"timestep": timestep[:, active]} if timestep.ndim == 2 else inputs


def patch_of(transformer: nn.Module) -> Patch:
    """What of the latents makes a token: frames, rows, columns."""
    config: Any = transformer.config
    frames, height, width = config.patch_size
    return frames, height, width


class _Gather:
    """Before the first block: (1, N, D) to (1, n, D)."""

    def __init__(self, hooks: AttentionHooks) -> None:
        self._hooks = hooks

    def __call__(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        run = self._hooks.current
        if run is None or run.active is None:
            return None
        return (args[0][:, run.active], *args[1:])


class _Scatter:
    """Behind the last projection: (1, n, C) to (1, N, C), zero where nothing was computed."""

    def __init__(self, hooks: AttentionHooks) -> None:
        self._hooks = hooks

    def __call__(self, _: nn.Module, __: tuple[Any, ...], out: Tensor) -> Tensor | None:
        run = self._hooks.current
        if run is None or run.active is None:
            return None
        whole = out.new_zeros(len(out), run.tokens, out.shape[-1])
        whole[:, run.active] = out
        return whole


class SomeQueries:
    """WanAttention's processor: queries of the active tokens, keys and values of all."""

    def __init__(self, hooks: AttentionHooks, attn: AttentionModule, stock: Any) -> None:
        self._hooks, self._attn, self._stock = hooks, attn, stock

    def __call__(
        self,
        module: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        run = self._hooks.current
        if run is None or run.active is None:
            out: Tensor = self._stock(
                module,
                hidden_states,
                encoder_hidden_states,
                attention_mask,
                rotary_emb,
                **kwargs,
            )
            return out
        assert rotary_emb is not None
        attended = self._attend(module, run, hidden_states, rotary_emb)
        projected: Tensor = module.to_out[1](module.to_out[0](attended))
        return projected

    def _attend(
        self, module: Any, run: Run, hidden: Tensor, rotary: tuple[Tensor, Tensor]
    ) -> Tensor:
        """(1, n, D) of ``hidden`` (1, n, D)."""
        here = rotary[0][:, run.active], rotary[1][:, run.active]
        query = split_heads(module.norm_q(module.to_q(hidden)), module.heads)
        whole = run.beside_source(self._attn, hidden)
        key = split_heads(module.norm_k(module.to_k(whole)), module.heads)
        value = split_heads(module.to_v(whole), module.heads)
        attended: Tensor = dispatch_attention_fn(
            rotated(query, *here),
            rotated(key, *rotary),
            value,
            backend=self._stock._attention_backend,
        )
        return attended.flatten(2).type_as(query)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``x`` (1, N, H, d) turned by its place; each angle stands twice in (1, N, 1, d).

    Rotary embedding of neighbouring pairs, arXiv 2104.09864.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    c, s = cos[..., 0::2], sin[..., 0::2]
    turned = torch.stack([even * c - odd * s, even * s + odd * c], dim=-1)
    return turned.flatten(-2).type_as(x)
