"""What to read for an edit, and in what order: from a manifest to lanes of items.

A lane is what one branch of the source yields, in the order of the denoising; models that call
their transformer once per branch and those that batch the branches both walk each lane forwards.
"""

from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from schemas.artifacts import ITEM_BYTES, Dtype, Frame, Manifest
from schemas.attention import Branch
from schemas.capture_plan import COMPUTED, INPUTS, Needed
from schemas.errors import ArtifactCorrupt
from workers.attention.maps import Address

MAX_GAP_BYTES = 256 << 10  # reading over a gap is cheaper than another request
MAX_BLOCK_BYTES = 64 << 20


class Block(NamedTuple):
    """A span of one object that is read by one request."""

    key: str
    offset: int
    size: int


class Piece(NamedTuple):
    block: Block
    frame: Frame


@dataclass
class TensorPlan:
    """``pieces`` in the order of their rows."""

    address: Address
    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    pieces: list[Piece] = field(default_factory=list)

    @property
    def decoded_bytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def held_bytes(self) -> int:
        """Decoded and encoded, which is what reading it takes."""
        return self.decoded_bytes + sum(piece.frame.size for piece in self.pieces)

    def check(self, limit_bytes: int) -> None:
        """Raise ArtifactCorrupt unless the rows are there, once each, and fit ``limit_bytes``."""
        row = 0
        for _, frame in self.pieces:
            if frame.rows[0] != row or (frame.dtype, frame.shape) != (self.dtype, self.shape):
                raise ArtifactCorrupt(f"{self.name} at {self.address}: rows are missing or doubled")
            row = frame.rows[1]
        if row != prod(self.shape[:-1]):
            raise ArtifactCorrupt(f"{self.name} at {self.address}: rows are missing")
        if self.decoded_bytes > limit_bytes:
            raise ArtifactCorrupt(
                f"{self.name} at {self.address} has {self.decoded_bytes} bytes; "
                f"this worker reads tensors of up to {limit_bytes}"
            )


@dataclass
class Item:
    """All tensors of one address."""

    address: Address
    tensors: dict[str, TensorPlan] = field(default_factory=dict)


class ReadPlan(NamedTuple):
    """``lanes``: items in order, by branch. ``constants``: tensors that any step may ask for."""

    lanes: dict[Branch, list[Item]]
    constants: dict[tuple[Address, str], TensorPlan]

    def tensors(self) -> list[TensorPlan]:
        """All; those of a lane as often as it has them."""
        items = [item for lane in self.lanes.values() for item in lane]
        return [
            *self.constants.values(),
            *(plan for item in items for plan in item.tensors.values()),
        ]


def plan_reads(manifest: Manifest, needed: Needed, limit_bytes: int) -> ReadPlan:
    """``limit_bytes``: of one tensor. Raises ArtifactCorrupt."""
    lanes: dict[Branch, dict[tuple[Address, bool], Item]] = {}
    constants: dict[tuple[Address, str], TensorPlan] = {}
    for pack in manifest.packs:
        wanted = [frame for frame in pack.frames if is_wanted(frame, manifest, needed)]
        for piece in _blocks(f"{manifest.folder}/{pack.name}", wanted):
            frame = piece.frame
            address = Address(frame.step, frame.branch, frame.layer)
            if _constant(frame):
                tensors = constants.setdefault((address, frame.name), _tensor(address, frame))
                tensors.pieces.append(piece)
                continue
            place = address, _is_output(frame)  # a step's inputs are read before, outputs behind
            item = lanes.setdefault(frame.branch, {}).setdefault(place, Item(address))
            item.tensors.setdefault(frame.name, _tensor(address, frame)).pieces.append(piece)
    plan = ReadPlan({branch: [*lane.values()] for branch, lane in lanes.items()}, constants)
    for tensor in plan.tensors():
        tensor.check(limit_bytes)
    return ReadPlan(
        {branch: _repeat(lane, needed.passes) for branch, lane in plan.lanes.items()}, constants
    )


def is_wanted(frame: Frame, manifest: Manifest, needed: Needed) -> bool:
    """Whether an edit reads ``frame``."""
    if _constant(frame):
        return True
    if frame.name in COMPUTED:
        return frame.step in needed.computed_steps
    if _is_output(frame):
        return needed.outputs
    if frame.layer == INPUTS:
        return frame.step in needed.steps and bool(manifest.recomputed_layers(needed))
    return (
        frame.layer in needed.layers
        and frame.step in needed.steps
        and frame.branch in needed.branches
    )


def _constant(frame: Frame) -> bool:
    """A condition of the source's run: kept once, asked for in every step."""
    return frame.layer == INPUTS and frame.name.startswith("condition")


def _is_output(frame: Frame) -> bool:
    return frame.layer == INPUTS and frame.name.startswith(("output", "computed", "extra"))


def _tensor(address: Address, frame: Frame) -> TensorPlan:
    return TensorPlan(address, frame.name, frame.dtype, frame.shape)


def _blocks(key: str, frames: list[Frame]) -> list[Piece]:
    """The frames of one pack, each with the span that it is read in."""
    pieces: list[Piece] = []
    run: list[Frame] = []
    for frame in [*frames, None]:
        joins = (
            frame is not None
            and run
            and frame.offset - (run[-1].offset + run[-1].size) <= MAX_GAP_BYTES
            and frame.offset + frame.size - run[0].offset <= MAX_BLOCK_BYTES
        )
        if run and not joins:
            block = Block(key, run[0].offset, run[-1].offset + run[-1].size - run[0].offset)
            pieces += [Piece(block, each) for each in run]
            run = []
        if frame is not None:
            run.append(frame)
    return pieces


def _repeat(items: list[Item], passes: int) -> list[Item]:
    """Each step's items ``passes`` times over, steps in order."""
    steps: dict[int, list[Item]] = {}
    for item in items:
        steps.setdefault(item.address.step, []).append(item)
    return [item for step in sorted(steps) for _ in range(passes) for item in steps[step]]
