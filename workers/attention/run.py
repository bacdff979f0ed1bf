"""The state of one run: what is exchanged and kept, and where.

A batch is laid out as [branch 0 rows, branch 1 rows, …]; its rows are the videos made together:
one, or in a replay the source, then its edit, then an edit of that, each taking its attention
from the row above.
"""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from schemas.attention import Branch, Form
from schemas.errors import ArtifactCorrupt
from workers.attention.attention_modules import AttentionModule, Axis, heads_view, like, split_heads
from workers.attention.maps import Address
from workers.attention.position import Position
from workers.attention.swap import AttentionSwap, Level, level_of, mix, mixes
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
        self.inside: AttentionModule | None = None
        self.seen = 0  # rows of the batch whose attention was computed in ``inside``
        self.replaced: set[Axis] = set()  # on the way from the projection to the place behind it
        self._held: tuple[Tensor, Tensor] | None = None
        self._fetched: dict[tuple[int, Address, str], Tensor] = {}

    @property
    def uses_qk(self) -> bool:
        """Whether anything may happen behind the projections, where queries and keys are."""
        if self.capture is not None and self.capture.plan.form == "qk":
            return True
        return any(row is not None and mixes(row) for row in self.transfers)

    def at_input(self, attn: AttentionModule, axis: Axis, x: Tensor) -> Tensor:
        """What the projection is to be given instead of ``x`` (B, N', D): maybe ``x`` itself."""
        self.visit(attn, axis)
        if axis == "k" and self._held is not None and self._held[0] is x:
            swapped, self._held = self._held[1], None
            return swapped
        if axis == "q":
            self.forget()
        swapped = self._swap_input(attn, x)
        if axis == "q":
            if swapped is not x:
                self._held = x, swapped
            if self.captures("hidden", attn.layer):
                self.keep(attn, "hidden", swapped)
        return swapped

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

    def _swap_input(self, attn: AttentionModule, x: Tensor) -> Tensor:
        swaps = list(self.swaps(attn.layer, "input", len(x)))
        if not swaps:
            return x
        video = attn.token_slice(self.tokens, x.shape[1])
        stored = self.stored(swaps[0], "hidden", x[swaps[0].part, video])
        if stored is not None and stored.shape == x.shape:
            return stored  # a linear only reads its input, so the stored tensor itself may go in
        swapped = x.clone()
        for swap in swaps:
            stored = self.stored(swap, "hidden", swapped[swap.part, video])
            swapped[swap.part, video] = swapped[swap.above, video] if stored is None else stored
        return swapped

    def _query_or_key(
        self, attn: AttentionModule, axis: Axis, swap: AttentionSwap, view: Tensor, video: slice
    ) -> Tensor:
        """The source's query or key (b, N, H, d), in the dtype of ``view``."""
        own = view[swap.part, video]
        if swap.transfer.source is None:
            return view[swap.above, video]
        if swap.transfer.form == "qk":
            stored = self.stored(swap, axis, own.flatten(2))
            assert stored is not None
            return split_heads(stored.to(own.dtype), width=own.shape[-1])
        hidden = self._fetch(swap, "hidden")
        return split_heads(attn.project(axis, hidden).to(own.dtype), width=own.shape[-1])

    def stored(self, swap: AttentionSwap, name: str, own: Tensor) -> Tensor | None:
        """What the source keeps in the place of ``own``; None: it is the row above."""
        if swap.transfer.source is None:
            return None
        stored = self._fetch(swap, name)
        if stored.shape != own.shape:
            raise ArtifactCorrupt(
                f"the source's {name} of step {swap.address.step}, layer {swap.address.layer} "
                f"has shape {tuple(stored.shape)}, not {tuple(own.shape)}"
            )
        return stored

    def _fetch(self, swap: AttentionSwap, name: str) -> Tensor:
        """Each tensor is read once a layer, however many rows and projections want it."""
        source = swap.transfer.source
        assert source is not None
        key = (id(source), swap.address, name)
        if key not in self._fetched:
            self._fetched[key] = source.get(swap.address, name)
        return self._fetched[key]

    def forget(self) -> None:
        self._held = None
        self._fetched.clear()
        self.replaced.clear()

    def swaps(self, layer: int, level: Level, parts: int) -> Iterator[AttentionSwap]:
        """The exchanges of this kind at ``layer`` in this call, on a batch of ``parts``."""
        if not self.here:
            return
        size = parts // self.batch
        for b, branch in enumerate(self.here):
            above_level: Level | None = None
            for r, transfer in enumerate(self.transfers):
                strength = self._strength(transfer, layer, branch)
                if transfer is None or strength == 0:
                    above_level = None
                    continue
                above_level = level_of(transfer, strength, above_level)
                if above_level != level:
                    continue
                from_branch = transfer.resolved.source_of(branch)
                first = (b * len(self.transfers) + r) * size
                above = (self._index(from_branch, b) * len(self.transfers) + r - 1) * size
                yield AttentionSwap(
                    part=slice(first, first + size),
                    above=slice(above, above + size),
                    address=Address(self.step, from_branch, layer),
                    transfer=transfer,
                    strength=strength,
                )

    def _index(self, branch: Branch, own: int) -> int:
        return self.here.index(branch) if branch in self.here else own

    def _strength(self, transfer: Transfer | None, layer: int, branch: Branch) -> float:
        if (
            transfer is None
            or layer not in transfer.resolved.layers
            or self.step not in transfer.resolved.steps
            or branch not in transfer.resolved.branches
        ):
            return 0.0
        return transfer.resolved.strength_at(self.step)

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
