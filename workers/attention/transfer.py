"""What a run is given: a source's attention to put in, and where to leave its own."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from schemas.attention import Branch, Form
from schemas.capture_plan import CapturePlan
from schemas.selection import ResolvedTransfer
from workers.attention.maps import MapSink, MapSource, TensorCache


@dataclass(frozen=True)
class StoredAttention:
    """A source's attention: ``source`` yields what ``plan`` says was kept of its run.

    ``recomputed``: where what is computed of latents, with these branches in a call, is kept for
    the next edit; None: nowhere.
    """

    plan: CapturePlan
    source: MapSource
    recomputed: Callable[[tuple[Branch, ...]], TensorCache] | None = None


@dataclass(frozen=True)
class Transfer:
    """What one row of a batch takes from ``source``; None is the row above, in the same batch.

    ``form``: of what the source yields (recomputed latents yield ``hidden``). ``outputs``: where an
    anchored edit finds the outputs that it follows; ``follows_anchored``: whether those are an
    anchored edit's; ``same_inputs``: whether it was made with the edit's prompt and picture.
    ``on_difference``: is given how the edit differs, (1, …) float32, at each computed step.
    """

    resolved: ResolvedTransfer
    form: Form = "hidden"
    source: MapSource | None = None
    outputs: MapSource | None = None
    follows_anchored: bool = False
    same_inputs: bool = False
    on_difference: Callable[[Tensor], None] | None = None


@dataclass(frozen=True)
class Capture:
    """What the last row of a batch leaves in ``sink``."""

    plan: CapturePlan
    sink: MapSink
