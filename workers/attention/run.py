"""The state of one run: what is exchanged and kept, and where.

A batch is laid out as [branch 0 rows, branch 1 rows, …]; its rows are the videos made together:
one, or in a replay the source, then its edit, then an edit of that, each taking its attention
from the row above.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from schemas.attention import Branch, Form
from schemas.errors import ArtifactCorrupt
from workers.attention.attention_modules import AttentionModule, Axis, heads_view, like, split_heads
from workers.attention.maps import Address
from workers.attention.position import Position
from workers.attention.swap import AttentionSwap, Level, mix, mixes, planned_swaps
from workers.attention.transfer import Capture, Transfer


class Run(Position):
    """What the hooks ask: ``tokens`` are the video's, N of the grid (F, H, W)."""

    def __init__(
        self,
        *,
        total_steps: int,
        branches: tuple[Branch, ...],
        batched: bool,
        tokens: int,
        extra_calls: int = 0,
        capture: Capture | None = None,
        transfers: tuple[Transfer | None, ...] = (None,),
        partial_steps: Collection[int] = (),
    ) -> None:
        super().__init__(
            total_steps=total_steps,
            branches=branches,
            batched=batched,
            extra_calls=extra_calls,
            row_count=len(transfers),
            partial_steps=partial_steps,
            checked=capture is not None
            or any(row is not None for row in transfers)
            or bool(partial_steps),
        )
        self.tokens = tokens
        self.capture = capture
        self.transfers = transfers
        self.active: Tensor | None = None  # (n,) the video's tokens that are computed; None: all
        self.inside: AttentionModule | None = None
        self.seen = 0  # rows of the batch whose attention was computed in ``inside``
        self.replaced: set[Axis] = set()  # on the way from the projection to the place behind it
        self.may_share = False  # a source's tensor may be projected once for rows that all take it
        self._shared_by = 1  # rows that wait for what a projection makes of one
        self._held: tuple[Tensor, Tensor] | None = None
        self._fetched: dict[tuple[int, Address, str], Tensor] = {}

    @property
    def uses_qk(self) -> bool:
        """Whether anything may happen behind the projections, where queries and keys are."""
        if self.capture is not None and self.capture.plan.form == "qk":
            return True
        return any(row is not None and mixes(row) for row in self.transfers)

    @contextmanager
    def one_row(
        self, row: int, inputs: dict[str, Any], active: Tensor | None = None
    ) -> Iterator[None]:
        """Within the block the call computes ``row`` alone, and of it the ``active`` tokens."""
        before = self.transfers, self.row_count, self.inputs
        self.transfers, self.row_count, self.inputs = (self.transfers[row],), 1, inputs
        self.active = active
        self.visits.clear()
        try:
            yield
        finally:
            self.forget()
            self.active = None
            self.transfers, self.row_count, self.inputs = before

    def beside_source(self, attn: AttentionModule, x: Tensor) -> Tensor:
        """``x`` (1, n, D) of the active tokens among the source's hidden states: (1, N, D)."""
        (transfer,) = self.transfers
        assert transfer is not None
        (branch,) = self.here
        address = Address(self.step, transfer.resolved.source_of(branch), attn.layer)
        whole = self._read(transfer, address, "hidden").to(x.dtype, copy=True)
        whole[:, self.active] = x
        return whole

    def at_input(self, attn: AttentionModule, axis: Axis, x: Tensor) -> Tensor:
        """What the projection is to be given instead of ``x`` (B, N', D): maybe ``x`` itself.

        It may be one row that all take: then what is made of it goes through ``for_all_rows``.
        """
        self.visit(attn, axis)
        if axis == "k" and self._held is not None and self._held[0] is x:
            swapped, self._held = self._held[1], None
            self._shared_by = len(x) // len(swapped)
            return swapped
        if axis == "q":
            self.forget()
        swapped = self._swap_input(attn, axis, x)
        self._shared_by = len(x) // len(swapped)
        if axis == "q" and swapped is not x:
            self._held = x, swapped
        # where some tokens have a query, all have a key
        if axis == ("q" if self.active is None else "k") and self.captures("hidden", attn.layer):
            self.keep(attn, "hidden", repeated(swapped, self._shared_by))
        return swapped

    def for_all_rows(self, out: Tensor) -> Tensor:
        """What a projection made of its input, for every row that shares it."""
        rows, self._shared_by = self._shared_by, 1
        return repeated(out, rows)

    def at_qk(self, attn: AttentionModule, axis: Axis, out: Tensor) -> Tensor:
        """The query or key ``out``, in the processor's layout, mixed with the source's."""
        view = heads_view(out, attn.heads)  # (B, N', H, d)
        swaps = list(self.swaps(attn.layer, "qk", len(view)))
        if axis in self.replaced:
            self.replaced.remove(axis)
            swaps = []  # they were all made where it would have been projected
        if swaps:
            view = view.clone()
            video = attn.token_slice(self.tokens, view.shape[1])
            for swap in swaps:
                mix(view, video, self._query_or_key(attn, axis, swap, view, video), swap)
            out = like(view, out, attn.heads)
        if self.captures("qk", attn.layer):
            self.keep(attn, axis, view.flatten(2))
        return out

    def replacement(self, attn: AttentionModule, axis: Axis, x: Tensor) -> Tensor | None:
        """The query or key (B, N, H·d) of ``x`` (B, N, D) as stored, and the caller's own.

        None: not all of it is stored, or it is to be mixed, so that it must be projected.
        """
        swaps = list(self.swaps(attn.layer, "qk", len(x)))
        video_alone = attn.token_slice(self.tokens, x.shape[1]) == slice(0, x.shape[1])
        if not swaps or not video_alone or len(swaps) < self.batch:
            return None
        if not all(swap.is_stored for swap in swaps):
            return None
        parts = [self._fetch(swap, axis) for swap in swaps]
        shape = (len(x) // self.batch, x.shape[1], attn.out_width(axis))
        if any(part.shape != shape or part.dtype != x.dtype for part in parts):
            return None  # ``at_qk`` converts it, or refuses it
        self.replaced.add(axis)
        return torch.cat(parts)  # a copy also of one: processors may rotate in place

    def _swap_input(self, attn: AttentionModule, axis: Axis, x: Tensor) -> Tensor:
        swaps = list(self.swaps(attn.layer, "input", len(x)))
        if not swaps:
            return x
        video = attn.token_slice(self.tokens, x.shape[1])
        stored = self.stored(swaps[0], "hidden", x[swaps[0].part, video], axis)
        if stored is not None and stored.shape == x.shape:
            return stored  # a linear only reads its input, so the stored tensor itself may go in
        if stored is not None and self._all_take(swaps, stored, x):
            return stored
        swapped = x.clone()
        for swap in swaps:
            stored = self.stored(swap, "hidden", swapped[swap.part, video], axis)
            swapped[swap.part, video] = swapped[swap.above, video] if stored is None else stored
        return swapped

    def _all_take(self, swaps: list[AttentionSwap], stored: Tensor, x: Tensor) -> bool:
        """Whether ``stored`` (b, N, D) is what every row of ``x`` (B, N, D) is to be."""
        places = {(id(swap.transfer.source), swap.address) for swap in swaps}
        whole = len(swaps) == self.batch and stored.shape[1:] == x.shape[1:]
        return self.may_share and whole and len(places) == 1

    def _query_or_key(
        self, attn: AttentionModule, axis: Axis, swap: AttentionSwap, view: Tensor, video: slice
    ) -> Tensor:
        """The source's query or key (b, N, H, d), in the dtype of ``view``."""
        own = view[swap.part, video]
        if swap.transfer.source is None:
            return view[swap.above, video]
        if swap.transfer.form == "qk":
            stored = self.stored(swap, axis, own.flatten(2), axis)
            assert stored is not None
            return split_heads(stored.to(own.dtype), width=own.shape[-1])
        hidden = self._of(axis, self._fetch(swap, "hidden"))
        return split_heads(attn.project(axis, hidden).to(own.dtype), width=own.shape[-1])

    def stored(
        self, swap: AttentionSwap, name: str, own: Tensor, axis: Axis = "k"
    ) -> Tensor | None:
        """What the source keeps in the place of ``own``; None: it is the row above."""
        if swap.transfer.source is None:
            return None
        stored = self._of(axis, self._fetch(swap, name))
        if stored.shape != own.shape:
            raise ArtifactCorrupt(
                f"the source's {name} of step {swap.address.step}, layer {swap.address.layer} "
                f"has shape {tuple(stored.shape)}, not {tuple(own.shape)}"
            )
        return stored

    def _of(self, axis: Axis, stored: Tensor) -> Tensor:
        """``stored`` (B, N, …), of it those tokens that have a query (key) in this call."""
        return stored if axis == "k" or self.active is None else stored[:, self.active]

    def _fetch(self, swap: AttentionSwap, name: str) -> Tensor:
        return self._read(swap.transfer, swap.address, name)

    def _read(self, transfer: Transfer, address: Address, name: str) -> Tensor:
        """Each tensor is read once a layer, however many rows and projections want it."""
        source = transfer.source
        assert source is not None
        key = (id(source), address, name)
        if key not in self._fetched:
            self._fetched[key] = source.get(address, name)
        return self._fetched[key]

    def forget(self) -> None:
        self._held = None
        self._fetched.clear()
        self.replaced.clear()

    def swaps(self, layer: int, level: Level, parts: int) -> Iterator[AttentionSwap]:
        """The exchanges of this kind at ``layer`` in this call, on a batch of ``parts``."""
        size = parts // self.batch if self.here else 0
        return planned_swaps(self.transfers, self.here, self.step, layer, level, size)

    def captures(self, form: Form, layer: int) -> bool:
        capture = self.capture
        return (
            capture is not None and bool(self.here) and capture.plan.holds(form, layer, self.step)
        )

    def keep(self, attn: AttentionModule, name: str, tensor: Tensor) -> None:
        """Give the last row's video tokens, of (B, N', …), to the sink, which copies them."""
        self.keep_parts(attn, name, tensor[:, attn.token_slice(self.tokens, tensor.shape[1])])

    def keep_parts(
        self,
        attn: AttentionModule,
        name: str,
        tensor: Tensor,
        *,
        first: int = 0,
        whole: int | None = None,
    ) -> None:
        """Give the last row of each captured branch to the sink, which copies it.

        ``tensor`` may be a part of the batch of ``whole``, from its place ``first`` on.
        """
        assert self.capture is not None
        size = (whole or len(tensor)) // self.batch
        for b, branch in enumerate(self.here):
            end = (b + 1) * len(self.transfers) * size - first
            if branch in self.capture.plan.branches and end - size >= 0 and end <= len(tensor):
                part = tensor[end - size : end]
                self.capture.sink.put(Address(self.step, branch, attn.layer), name, part)


def repeated(tensor: Tensor, rows: int) -> Tensor:
    """``tensor`` (b, …) ``rows`` times over: of b 1 a view, that nobody may write into."""
    if rows == 1:
        return tensor
    return tensor.unsqueeze(0).expand(rows, *tensor.shape).flatten(0, 1)
