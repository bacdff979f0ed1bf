"""Interventions: a run whose attention is changed, video by video of its batch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.analysis.attention_calls import AttentionCall, AttentionCalls, Stock
from workers.analysis.interventions.changes import Change
from workers.models.pipelines import LoadedModel


class _Place(NamedTuple):
    """A change that is to be made to some heads of one element of a call's batch."""

    element: int
    heads: list[int]
    change: Change


def changed_attention(model: LoadedModel, rows: Sequence[Sequence[Change]]) -> AttentionCalls:
    """A mode in which a run makes the changes of ``rows[r]`` to the r-th of its videos.

    Where no change acts the kernel's own output stands, so that a run without an acting change is
    the plain run to the last bit. Two changes of one video may not act on one head.
    """
    return AttentionCalls(model, _Changes(rows).handle)


class _Changes:
    def __init__(self, rows: Sequence[Sequence[Change]]) -> None:
        self._rows = rows

    def handle(self, call: AttentionCall, stock: Stock) -> Tensor:
        places = list(self._places(call))
        if not places:
            return stock()
        output = self._start(call, places, stock)
        for element, heads, change in places:
            changed = change.output(call.heads(element, heads), call.attn.layer, heads)
            output[element, heads, call.video] = changed.to(output.dtype)
        return output

    def _places(self, call: AttentionCall) -> Iterator[_Place]:
        run, layer, count = call.run, call.attn.layer, call.query.shape[1]
        for branch in run.here:
            for row, changes in enumerate(self._rows):
                part = call.part(branch, row)
                if part is None:
                    continue
                taken: set[int] = set()
                for change in changes:
                    heads = change.heads_at(run.step, branch, layer, count)
                    if taken & set(heads):
                        raise ValueError(f"two changes act on one head of layer {layer}")
                    taken |= set(heads)
                    if heads:
                        for element in range(part.start, part.stop):
                            yield _Place(element, heads, change)

    def _start(self, call: AttentionCall, places: list[_Place], stock: Stock) -> Tensor:
        """The kernel's own output; where every number of it is to be replaced, only its room."""
        batch, heads, tokens, _ = call.query.shape
        all_tokens = call.video == slice(0, tokens)
        if all_tokens and sum(len(each.heads) for each in places) == batch * heads:
            # as the kernel lays it out: (B, H, N, d) over (B, N, H, d)
            room = torch.empty_like(call.value.transpose(1, 2).contiguous())
            return room.transpose(1, 2)
        return stock()
