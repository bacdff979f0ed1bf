"""The self-attention modules of a transformer, found by their paths.

A attn is one self-attention: the linears that make its queries and keys, the norms behind them,
and where the video's tokens lie in what the linears are given.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from workers.families.base import Pattern, TokenLayout

Axis = Literal["q", "k"]
AXES: tuple[Axis, ...] = ("q", "k")

PROJECTIONS = (("to_q", "to_k"), ("to_query", "to_key"), ("q", "k"))
NORMS = (("norm_q", "norm_k"), ("query_norm", "key_norm"), ("q_norm", "k_norm"))


@dataclass(frozen=True, eq=False)
class AttentionModule:
    """One self-attention module.

    ``places``: the modules whose output is the query (key) that goes into the rotary embedding:
    the qk-norm where there is one, else the projection itself. With fused projections ``fused``
    is to_qkv, and the projections are None.
    """

    layer: int
    path: str
    module: nn.Module
    layout: TokenLayout
    heads: int
    width: int
    to_q: nn.Module | None
    to_k: nn.Module | None
    fused: nn.Module | None
    norm_q: nn.Module | None
    norm_k: nn.Module | None

    @property
    def block(self) -> str:
        """The path of the transformer block around it: ``blocks.3`` of ``blocks.3.attn1``."""
        found = re.match(r".+?\.\d+(?=\.)", self.path)
        assert found is not None, self.path
        return found[0]

    def projection(self, axis: Axis) -> nn.Module | None:
        return self.to_q if axis == "q" else self.to_k

    def norm(self, axis: Axis) -> nn.Module | None:
        return self.norm_q if axis == "q" else self.norm_k

    def out_width(self, axis: Axis) -> int:
        """H·d of the query or key, which is not D in every family."""
        projection: Any = self.projection(axis)
        return int(projection.out_features)

    def project(self, axis: Axis, hidden: Tensor) -> Tensor:
        """The query or key (B, N, H·d) of ``hidden`` (B, N, D), past the hooks."""
        projection, norm = self.projection(axis), self.norm(axis)
        if projection is None:
            assert self.fused is not None
            thirds: tuple[Tensor, ...] = self.fused.forward(hidden).chunk(3, dim=-1)
            out = thirds[0 if axis == "q" else 1]
        else:
            out = projection.forward(hidden)
        if norm is None:
            return out
        weight = getattr(norm, "weight", None)
        across = weight is not None and weight.numel() == out.shape[-1]
        normed: Tensor = norm.forward(out if across else split_heads(out, self.heads))
        return normed if across else normed.flatten(2)

    def token_slice(self, tokens: int, total: int) -> slice:
        """Where the video's ``tokens`` lie among the ``total`` tokens of a projection's input."""
        if self.layout == "video":
            return slice(0, total)
        return slice(0, tokens) if self.layout == "video_text" else slice(total - tokens, total)


def find_attention_modules(
    transformer: nn.Module, patterns: tuple[Pattern, ...], *, interleaved: bool
) -> list[AttentionModule]:
    """The attention_modules in forward order, numbered from 0.

    ``interleaved``: the patterns' blocks alternate (Latte: spatial 0, temporal 0, spatial 1, …);
    else all of the first pattern run before the second's.
    """
    found: list[tuple[int, int, str, nn.Module, TokenLayout]] = []
    for order, pattern in enumerate(patterns):
        modules = [
            (path, module)
            for path, module in transformer.named_modules()
            if re.fullmatch(pattern.path, path)
        ]
        for place, (path, module) in enumerate(modules):
            key = (place, order) if interleaved else (order, place)
            found.append((*key, path, module, pattern.layout))
    found.sort(key=lambda each: each[:2])
    return [
        _attention_module(place, path, module, layout)
        for place, (_, _, path, module, layout) in enumerate(found)
    ]


def _attention_module(
    layer: int, path: str, module: nn.Module, layout: TokenLayout
) -> AttentionModule:
    fused = getattr(module, "to_qkv", None)
    to_q, to_k = _pair(module, PROJECTIONS)
    norm_q, norm_k = _pair(module, NORMS)
    linear = fused or to_q
    if linear is None:
        raise TypeError(f"{path} ({type(module).__name__}) has no projections that we know")
    heads: Any = getattr(module, "heads", None) or getattr(module, "num_heads", None)
    if getattr(module, "add_q_proj", None) is not None:
        layout = "video"
    return AttentionModule(
        layer=layer,
        path=path,
        module=module,
        layout=layout,
        heads=int(heads) if heads else 1,
        width=linear_width(linear),
        to_q=None if fused else to_q,
        to_k=None if fused else to_k,
        fused=fused,
        norm_q=norm_q,
        norm_k=norm_k,
    )


def linear_width(linear: Any) -> int:
    """The width of its input; quantized and LoRA linears have the attribute too."""
    return int(linear.in_features)


def _pair(
    module: nn.Module, names: tuple[tuple[str, str], ...]
) -> tuple[nn.Module | None, nn.Module | None]:
    for q, k in names:
        if isinstance(getattr(module, q, None), nn.Module):
            return getattr(module, q), getattr(module, k)
    return None, None


def split_heads(tensor: Tensor, heads: int = -1, width: int = -1) -> Tensor:
    """(B, N, H·d) viewed as (B, N, H, d); one of the two may be left out."""
    return tensor.reshape(*tensor.shape[:-1], heads, width)


def heads_view(tensor: Tensor, heads: int) -> Tensor:
    """A query or key in any of the layouts that processors use, viewed as (B, N, H, d).

    They are (B, N, H·d), (B, N, H, d), or (B, H, N, d), the last as a transposed view.
    """
    if tensor.ndim == 3:
        return split_heads(tensor, heads)
    if tensor.shape[1] == heads and (
        tensor.shape[2] != heads or tensor.stride(1) < tensor.stride(2)
    ):
        return tensor.transpose(1, 2)
    return tensor


def like(view: Tensor, original: Tensor, heads: int) -> Tensor:
    """The inverse of ``heads_view``: (B, N, H, d) in the layout that ``original`` has."""
    if original.ndim == 3:
        return view.flatten(2)
    return view.transpose(1, 2) if heads_view(original, heads) is not original else view
