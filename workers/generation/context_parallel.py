"""One recipe on all ranks: what each of them runs, and how attention gets to and from rank 0.

Rank 0 alone reads artifacts and keeps captures. A stored tensor is scattered token by token to
the ranks that need it, and what the hooks capture is gathered, so an artifact looks the same
whatever number of ranks made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from schemas.capture_plan import INPUTS, CapturePlan
from schemas.errors import ArtifactCorrupt
from schemas.selection import ResolvedRecipe
from workers.attention.maps import Address, MapSink, MapSource
from workers.attention.transfer import Capture, StoredAttention
from workers.generation.denoise import Generated, OnStep, StepInfo
from workers.generation.generate import generate
from workers.models.pipelines import LoadedModel
from workers.models.rank_group import RankGroup


@dataclass(frozen=True)
class RankTask:
    """What rank 0 has the others do: of ``stored`` and ``capture`` they know what is held.

    ``pictures``: what rank 0's model has, which they put into theirs.
    """

    model: str
    resolved: ResolvedRecipe
    stored: CapturePlan | None = None
    capture: CapturePlan | None = None
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)


class SharedSource:
    """A MapSource on every rank, out of rank 0's: its own tokens, or whole inputs."""

    def __init__(self, group: RankGroup, source: MapSource | None, device: torch.device) -> None:
        self._group, self._source, self._device = group, source, device

    def get(self, address: Address, name: str) -> Tensor:
        header = self._group.broadcast_from_root(lambda: self._read(address, name))
        if address.layer == INPUTS:
            return self._group.broadcast(header, self._device)
        return self._group.scatter(header, self._device)

    def _read(self, address: Address, name: str) -> Tensor:
        assert self._source is not None
        tensor = self._source.get(address, name)
        # here, where all ranks can be header: a share may fit where the whole does not
        if address.layer != INPUTS and tensor.shape[1] != self._group.tokens:
            raise ArtifactCorrupt(
                f"the source's {name} of step {address.step}, layer {address.layer} has "
                f"{tensor.shape[1]} tokens, not {self._group.tokens}"
            )
        return tensor


class GatheredSink:
    """A MapSink on every rank, into rank 0's."""

    def __init__(self, group: RankGroup, sink: MapSink | None) -> None:
        self._group, self._sink = group, sink

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        # every rank is called with the same inputs, and with its own tokens
        whole = tensor if address.layer == INPUTS else self._group.gather(tensor)
        if self._sink is not None and whole is not None:
            self._sink.put(address, name, whole)


def generate_context_parallel(
    model: LoadedModel,
    task: RankTask,
    *,
    source: MapSource | None = None,
    sink: MapSink | None = None,
    on_step: OnStep | None = None,
) -> Generated:
    """``generate`` on each rank of the model's group; ``source``, ``sink`` and ``on_step`` are
    rank 0's. Raises what ``generate`` does; on other ranks Stopped where rank 0 ended the run.
    """
    group = model.group
    assert group is not None

    def after_step(info: StepInfo) -> None:
        group.broadcast_from_root(lambda: on_step(info) if on_step is not None else None)

    device = torch.device(model.pipeline._execution_device)
    stored, capture = None, None
    if task.stored is not None:
        stored = StoredAttention(task.stored, SharedSource(group, source, device))
    if task.capture is not None:
        capture = Capture(task.capture, GatheredSink(group, sink))
    return generate(model, task.resolved, stored=stored, capture=capture, on_step=after_step)
