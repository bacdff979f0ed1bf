"""Pictures of attention maps: which map a picture shows, and whether a run has it."""

from typing import Annotated, NamedTuple

from pydantic import Field

from schemas.attention import Branch, Form, Index
from schemas.base import Frozen, canonical_hash
from schemas.errors import InvalidRequest, Unsupported
from schemas.models import ModelCard
from schemas.recipes import Generation
from schemas.selection import branches_of

MAX_BINS = 1024
STORED_FORMS: tuple[Form, ...] = ("hidden", "qk")  # what a map can be shown from
PICTURE_VERSION = 1  # part of every map's id: raise it when the same view is drawn otherwise


class Place(NamedTuple):
    """Which map: one head of one layer at one step, in one guidance branch."""

    step: int
    branch: Branch
    layer: int
    head: int


class MapView(Frozen):
    """What a picture shows: one head of one layer at one step, all from 0, in one branch.

    ``bins``: into how many cells a side the tokens are pooled; the tokens themselves where there
    are fewer.
    """

    step: Index = 0
    branch: Branch = "cond"
    layer: Index = 0
    head: Index = 0
    bins: Annotated[int, Field(ge=1, le=MAX_BINS)] = 512

    @property
    def place(self) -> Place:
        return Place(self.step, self.branch, self.layer, self.head)


class Look(Frozen):
    """The picture that a map job makes: ``view`` of the run that ``artifact_id`` was kept of."""

    artifact_id: str
    view: MapView


def map_id(project: str, look: Look) -> str:
    """The map job's id: the same for the same picture, so that it is made once."""
    value = {"v": PICTURE_VERSION, "project": project, "look": look.model_dump(mode="json")}
    return f"map_{canonical_hash(value)[:32]}"


def maps_folder(project: str, artifact_id: str) -> str:
    """Where all pictures of an artifact's maps lie."""
    return f"maps/{project}/{artifact_id}"


def check_place(place: Place, card: ModelCard, generation: Generation) -> None:
    """Raise InvalidRequest or Unsupported for a map that a run of ``generation`` has not."""
    if not card.supports_transfer:
        raise Unsupported(f"model {card.id!r} has no maps to show: {card.no_transfer_reason}")
    limits = {
        "step": generation.num_inference_steps,
        "layer": card.layers,
        "head": card.heads,
    }
    for name, limit in limits.items():
        value = getattr(place, name)
        if not 0 <= value < limit:
            raise InvalidRequest(f"{name}: {value} is not one of 0 to {limit - 1}", param=name)
    branches = branches_of(card, generation)
    if place.branch not in branches:
        allowed = ", ".join(branches)
        raise InvalidRequest(
            f"branch: {place.branch!r} is not a branch of this run; allowed is {allowed} (model "
            f"{card.id!r} at guidance_scale {generation.guidance_scale:g})",
            param="branch",
        )
