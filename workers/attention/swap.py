"""One exchange of attention: what takes what from where, and how the two are mixed."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from schemas.attention import Branch
from workers.attention.maps import Address
from workers.attention.transfer import Transfer

# Where a transfer acts: on a projection's input, on queries and keys, or on the softmax map
Level = Literal["input", "qk", "map"]


class AttentionSwap(NamedTuple):
    """One exchange: ``part`` of the batch takes ``strength`` of what ``address`` names.

    ``above``: the part that is copied where the transfer has no source.
    """

    part: slice
    above: slice
    address: Address
    transfer: Transfer
    strength: float

    @property
    def is_stored(self) -> bool:
        """Whether the query and key that it leaves are a source's, to the last head."""
        transfer = self.transfer
        whole = transfer.resolved.heads is None and self.strength == 1
        return whole and transfer.form == "qk" and transfer.source is not None


def mixes(transfer: Transfer) -> bool:
    """Whether queries and keys are needed, and not only what they are projected from."""
    if transfer.form == "dense":
        return False
    mixed = any(transfer.resolved.strength_at(step) < 1 for step in transfer.resolved.steps)
    return mixed or transfer.resolved.heads is not None or transfer.form == "qk"


def level_of(transfer: Transfer, strength: float, above: Level | None) -> Level:
    """Where ``transfer`` acts; ``above`` is where the row above takes its own attention."""
    if transfer.form == "dense":
        return "map"
    if strength < 1 or transfer.resolved.heads is not None or transfer.form == "qk":
        return "qk"
    # below a mixed row there is no hidden state that holds its queries and keys
    return "qk" if transfer.source is None and above == "qk" else "input"


def planned_swaps(
    transfers: Sequence[Transfer | None],
    here: tuple[Branch, ...],
    step: int,
    layer: int,
    level: Level,
    size: int,
) -> Iterator[AttentionSwap]:
    """The exchanges of ``level`` at ``layer`` in a call of branches ``here``.

    A batch is laid out as [branch 0 rows, branch 1 rows, …], a row ``size`` parts of it.
    """
    rows = len(transfers)
    for b, branch in enumerate(here):
        above_level: Level | None = None
        for r, transfer in enumerate(transfers):
            strength = _strength(transfer, step, layer, branch)
            if transfer is None or strength == 0:
                above_level = None
                continue
            above_level = level_of(transfer, strength, above_level)
            if above_level != level:
                continue
            from_branch = transfer.resolved.source_of(branch)
            above_branch = here.index(from_branch) if from_branch in here else b
            first, above = (b * rows + r) * size, (above_branch * rows + r - 1) * size
            yield AttentionSwap(
                part=slice(first, first + size),
                above=slice(above, above + size),
                address=Address(step, from_branch, layer),
                transfer=transfer,
                strength=strength,
            )


def _strength(transfer: Transfer | None, step: int, layer: int, branch: Branch) -> float:
    if (
        transfer is None
        or layer not in transfer.resolved.layers
        or step not in transfer.resolved.steps
        or branch not in transfer.resolved.branches
    ):
        return 0.0
    return transfer.resolved.strength_at(step)


def mix(view: Tensor, video: slice, source: Tensor, swap: AttentionSwap) -> None:
    """Write the mix of ``view``'s own (b, N, H, d) and ``source`` into ``view``."""
    own = view[swap.part, video]
    mixed = source if swap.strength == 1 else torch.lerp(own, source, swap.strength)
    if swap.transfer.resolved.heads is None:
        view[swap.part, video] = mixed
    else:
        heads = list(swap.transfer.resolved.heads)
        own[:, :, heads] = mixed[:, :, heads]
