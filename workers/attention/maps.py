"""Where captured attention goes to and comes from: addresses, sinks, sources.

Names of tensors, by form:
    hidden   ``hidden``  (B, N, D)      input of to_q and to_k, video tokens only
    qk       ``q``, ``k`` (B, N, H·d)   after qk-norm, before rotary embedding, video tokens only
    dense    ``map``     (B, H, N, N)   softmax(Q Kᵀ/√d), all tokens of the layer
    latents  ``input`` and conditions   what the transformer is called with, at layer -1
B is 1, except where a model folds frames or rows of the video into the batch (Latte).
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from schemas.attention import Branch
from schemas.errors import ArtifactMissing


class Address(NamedTuple):
    step: int
    branch: Branch
    layer: int


class MapSink(Protocol):
    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        """Take a copy of ``tensor`` before returning: its memory is used again."""


class MapSource(Protocol):
    def get(self, address: Address, name: str) -> Tensor:
        """The tensor, on the transformer's device. Callers never write to it.

        Raises ArtifactMissing.
        """


class TensorCache(Protocol):
    """What may still be there of tensors that were computed before."""

    def get(self, address: Address, name: str) -> Tensor | None:
        """The caller's own; None: it is not there."""

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        """Keep a copy, if there is room."""


class MemoryMaps:
    """A sink and a source in this process's memory."""

    def __init__(self) -> None:
        self.tensors: dict[tuple[Address, str], Tensor] = {}

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        self.tensors[address, name] = tensor.detach().clone()

    def get(self, address: Address, name: str) -> Tensor:
        try:
            return self.tensors[address, name]
        except KeyError:
            raise ArtifactMissing(
                f"the source holds no {name} of step {address.step}, "
                f"branch {address.branch}, layer {address.layer}"
            ) from None

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())
