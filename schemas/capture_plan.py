"""What one artifact holds of a run's attention, and what an edit needs of it."""

from typing import Annotated, NamedTuple

from pydantic import Field

from schemas.attention import Branch, CodecName, Form
from schemas.base import Frozen, canonical_hash

MANIFEST_VERSION = 1
INPUTS = -1  # the layer under which a step's transformer inputs and outputs are kept
OUTPUTS = ("output", "output_b")  # some families give two: video and audio
VELOCITY = "condition_velocity"  # of an uploaded film: its transformer's answer, in every step
COMPUTED = ("computed", "computed_b")  # of an anchored edit: the cond output behind its answer

LayerIndex = Annotated[int, Field(ge=0, le=100_000)]
StepIndex = Annotated[int, Field(ge=0, le=100_000)]
# The tensors of one layer, step and branch, by form; latents may hold more beside ``input``
TENSOR_NAMES: dict[Form, tuple[str, ...]] = {
    "latents": ("input",),
    "hidden": ("hidden",),
    "qk": ("q", "k"),
    "dense": ("map",),
}


class Needed(NamedTuple):
    """What an edit reads of its source's attention; ``branches`` are the source's.

    ``passes``: how often each tensor is read in a step (2: cond maps into both branches of a
    model that calls its transformer once per branch). ``outputs``: whether the source's outputs
    are followed. ``computed_steps``: those in which the source's own cond output is wanted.
    ``of_film``: the source is an uploaded film, whose run computed nothing at other steps.
    ``values``: whether values are made of the source's hidden states, and not queries and keys
    alone.
    """

    layers: frozenset[int]
    steps: frozenset[int]
    branches: frozenset[Branch]
    passes: int = 1
    outputs: bool = False
    computed_steps: frozenset[int] = frozenset()
    of_film: bool = False
    values: bool = False


class CapturePlan(Frozen):
    """A capture spec resolved against its model and recipe: exactly what one artifact holds.

    ``steps`` and ``branches`` are those whose attention is kept; form latents keeps the inputs of
    every step beside. ``hidden_layers``: of form latents, the layers whose hidden states are kept
    too, so that they need not be recomputed. ``outputs``: whether the transformer's outputs are
    kept, of every step and branch, for anchored edits to follow. ``made_by``: the versions of the
    libraries that compute; "": not known. Form latents is computed again when it is used, by those
    of that day, so there they are part of the key: other versions keep an artifact of their own.
    """

    form: Form
    codec: CodecName
    layers: tuple[LayerIndex, ...]
    steps: tuple[StepIndex, ...]
    branches: Annotated[tuple[Branch, ...], Field(min_length=1, max_length=2)]
    hidden_layers: tuple[LayerIndex, ...] = ()
    outputs: bool = False
    made_by: Annotated[str, Field(max_length=200)] = ""

    def holds(self, form: Form, layer: int, step: int) -> bool:
        """Whether it holds what ``layer`` shows in ``form`` at ``step``."""
        if step not in self.steps:
            return False
        if self.form == "latents":
            return form == "hidden" and layer in self.hidden_layers
        return form == self.form and layer in self.layers

    def covers(self, needed: Needed) -> bool:
        """Whether an edit can be made from what is kept; latents let any layer be recomputed."""
        if needed.outputs and not self.outputs:
            return False
        if needed.of_film and not needed.computed_steps <= set(self.steps):
            return False
        if needed.values and self.form not in ("hidden", "latents"):
            return False
        return self.form == "latents" or (
            needed.layers <= set(self.layers) and self._has_places(needed)
        )

    def recomputed_layers(self, needed: Needed) -> frozenset[int]:
        """The layers that an edit must recompute, since only latents tell their attention."""
        if self.form != "latents":
            return frozenset()
        there = self.hidden_layers if self._has_places(needed) else ()
        return needed.layers - set(there)

    def _has_places(self, needed: Needed) -> bool:
        return needed.steps <= set(self.steps) and needed.branches <= set(self.branches)

    def key(self) -> str:
        """The capture key: 32 hex digits, the artifact's name below its source."""
        plan = self.model_dump(mode="json")
        if not self.outputs:
            del plan["outputs"]  # plans without them are older than the field
        if self.form != "latents" or not self.made_by:
            del plan["made_by"]  # what was computed stays what it is
        return canonical_hash({"v": MANIFEST_VERSION, **plan})[:32]
