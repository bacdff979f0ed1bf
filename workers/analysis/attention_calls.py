"""The seam: every call of attention in a hooked layer, seen with its queries and keys as they are.

Processors attend through ``F.scaled_dot_product_attention``; a function mode around it sees rotary
embedding, text and mask included, whatever the family, and may give another output. Compiled blocks
and other kernels do not pass here: those models are refused.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from schemas.attention import Branch
from schemas.errors import Unsupported
from workers.analysis.measures.grid import TokenGrid
from workers.analysis.measures.rows import Heads
from workers.attention.attention_modules import AttentionModule
from workers.attention.run import Run
from workers.families.base import Family
from workers.models.pipelines import LoadedModel

Stock = Callable[[], Tensor]


@dataclass(frozen=True)
class AttentionCall:
    """One call. ``query``, ``key``, ``value``: (B, H, N', d), of which B may be a part of the
    batch, from ``first`` on, of ``whole``. ``video``: where its tokens lie among the N'."""

    run: Run
    attn: AttentionModule
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    first: int
    whole: int
    video: slice

    def part(self, branch: Branch, row: int = -1) -> slice | None:
        """Which of B are of ``branch`` and of video ``row`` of those made together; None: none.

        More than one where a model folds frames or places into the batch.
        """
        if branch not in self.run.here or self.whole % self.run.batch:
            return None
        size = self.whole // self.run.batch
        rows = len(self.run.transfers)
        start = (self.run.here.index(branch) * rows + row % rows) * size - self.first
        if start < 0 or start + size > len(self.query):
            return None
        return slice(start, start + size)

    def heads(self, element: int, chosen: list[int] | slice = slice(None)) -> Heads:
        """The ``chosen`` heads of one element of the batch."""
        mask = self.mask
        if mask is not None and mask.ndim == 4:
            mask = mask[element if len(mask) > 1 else 0]  # (H or 1, N' or 1, N')
            mask = mask[chosen] if len(mask) > 1 else mask
        return Heads(
            query=self.query[element, chosen],
            key=self.key[element, chosen],
            value=self.value[element, chosen],
            scale=self.scale,
            video=self.video,
            mask=mask,
        )


class AttentionCalls(TorchFunctionMode):
    """While entered, ``handle(call, stock)`` gives the output of each call; ``stock()`` is the
    kernel's own."""

    def __init__(
        self, model: LoadedModel, handle: Callable[[AttentionCall, Stock], Tensor]
    ) -> None:
        super().__init__()
        self._hooks, self._family = model.hooks, model.family
        self._handle = handle
        self._place: tuple[int, int, int] | None = None
        self._seen = 0
        self._watching = ExitStack()

    def __enter__(self) -> Self:
        self._watching.enter_context(self._hooks.watched())
        super().__enter__()  # type: ignore[no-untyped-call] # torch's
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call] # torch's
        self._watching.close()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        run = self._hooks.current
        if func is not F.scaled_dot_product_attention or run is None or run.inside is None:
            return func(*args, **options)
        if not run.here:
            return func(*args, **options)  # a call for another kind of guidance

        def stock() -> Tensor:
            output: Tensor = func(*args, **options)
            return output

        return self._handle(self._call(run, run.inside, *args, **options), stock)

    def _call(
        self,
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
    ) -> AttentionCall:
        if is_causal:
            raise Unsupported("a causal attention kernel hides its mask: it cannot be analysed")
        place = (run.step, run.calls, attn.layer)
        if place != self._place:
            self._place, self._seen = place, 0
        whole = max(len(query), run.batch)
        first = self._seen if len(query) < whole else 0  # Mochi attends row by row
        self._seen += len(query)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        return AttentionCall(
            run=run,
            attn=attn,
            query=query,
            key=key,
            value=value,
            mask=attn_mask,
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            first=first,
            whole=whole,
            video=video_slice(self._family, attn, run.tokens, query.shape[2]),
        )


def video_slice(family: Family, attn: AttentionModule, tokens: int, total: int) -> slice:
    """Where the video's tokens lie among the ``total`` of an attention call.

    Not as among those of a projection: text that has projections of its own joins behind them.
    """
    if total <= tokens:
        return slice(0, total)  # a frame or a place of it, where they are folded into the batch
    text_first = any(pattern.layout == "text_video" for pattern in family.attention)
    own_projections = getattr(attn.module, "add_q_proj", None) is not None
    # what a video-only projection is given beside the video is what went before (Helios)
    history_first = attn.layout == "video" and not own_projections
    if text_first or history_first:
        return slice(total - tokens, total)
    return slice(0, tokens)


def layer_grid(attn: AttentionModule, grid: TokenGrid, tokens: int) -> TokenGrid:
    """The grid of one map of a layer that attends over ``tokens`` of the video's ``grid``.

    Raises Unsupported where that is no part of the grid that we know.
    """
    if tokens == grid.tokens:
        return grid
    if tokens == grid.places and not attn.path.startswith("temporal"):
        return TokenGrid(1, grid.rows, grid.columns)
    if tokens == grid.frames:
        return TokenGrid(grid.frames, 1, 1)
    raise Unsupported(
        f"layer {attn.layer} attends over {tokens} tokens, which is neither the video's "
        f"{grid.tokens} nor its frames or places: it cannot be analysed"
    )


def check_seen(model: LoadedModel) -> None:
    """Raise Unsupported, with the reason, if this model's attention cannot be seen."""
    card, settings = model.card, model.settings
    if not card.supports_transfer:
        reason = card.no_transfer_reason
    elif settings.compile != "none":
        reason = "its blocks are compiled, and compiled attention does not show its queries"
    elif model.group is not None or settings.ranks > 1:
        reason = "it is spread over several ranks, each of which sees a part of the map"
    else:
        return
    raise Unsupported(f"model: {card.id!r} cannot be analysed: {reason}", param="model")


def unseen(model: LoadedModel, layers: set[int]) -> Unsupported:
    """The error for layers that were to be seen and were not."""
    return Unsupported(
        f"model: layers {sorted(layers)} of {model.card.id!r} attend through a kernel that does "
        "not show its queries and keys; load the model without attention_backend",
        param="model",
    )
