"""The manifest of an attention artifact: the one description that readers trust.

An artifact's packs of frames lie under ``artifacts/{project}/{source_key}/{capture_key}/``, its
manifest is ``manifests/{project}/{source_key}/{capture_key}.json``, apart so that listing the
artifacts does not list their packs. It is written last, with If-None-Match: a reader sees all of
an artifact or none.
A manifest may come from a damaged or hostile store: everything that a reader would allocate or
open by it is bounded here, before anything is read.
"""

import re
from math import prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from schemas.attention import Branch, CodecName, Form
from schemas.base import Frozen
from schemas.capture_plan import (
    INPUTS,
    MANIFEST_VERSION,
    CapturePlan,
    LayerIndex,
    Needed,
    StepIndex,
)
from schemas.errors import ArtifactCorrupt, ArtifactTooNew
from schemas.recipes import Recipe

MAX_MANIFEST_BYTES = 256 << 20
MAX_FRAME_BYTES = 256 << 20
MAX_TENSOR_BYTES = 64 << 30
MAX_PACK_BYTES = 5 << 30  # what S3 takes in one PUT

_ARTIFACT_ID = re.compile(r"attn_([0-9a-f]{64})_([0-9a-f]{32})")
Count = Annotated[int, Field(ge=0, le=1 << 50)]
Side = Annotated[int, Field(ge=1, le=1 << 20)]
Dtype = Literal["float32", "bfloat16", "float16", "float64", "int64", "int32", "bool"]
ITEM_BYTES: dict[Dtype, int] = {
    "float64": 8,
    "int64": 8,
    "float32": 4,
    "int32": 4,
    "bfloat16": 2,
    "float16": 2,
    "bool": 1,
}


class Frame(Frozen):
    """Whole rows of one tensor: where they lie in their pack and how to read them back.

    ``name``: ``hidden``, ``q``, ``k``, ``map`` or ``input``. ``layer`` is -1 for a step's inputs.
    ``shape``: of the whole tensor. ``rows``: first and last+1 of the rows in this frame, where
    rows are all dimensions but the last, flattened. ``crc32c``: of the encoded bytes, checked
    before decoding.
    """

    name: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
    step: StepIndex
    branch: Branch
    layer: Annotated[int, Field(ge=INPUTS, le=100_000)]
    codec: CodecName
    codec_version: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    dtype: Dtype
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 31)], ...], Field(max_length=8)]
    rows: tuple[Count, Count]
    offset: Count
    size: Annotated[int, Field(ge=1, le=2 * MAX_FRAME_BYTES)]
    crc32c: Annotated[int, Field(ge=0, lt=1 << 32)]

    @property
    def width(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def total_rows(self) -> int:
        return prod(self.shape[:-1])

    @property
    def decoded_bytes(self) -> int:
        return (self.rows[1] - self.rows[0]) * self.width * ITEM_BYTES[self.dtype]

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        start, stop = self.rows
        if not start < stop <= self.total_rows:
            raise ValueError(f"rows {start} to {stop} are not within 0 to {self.total_rows}")
        if self.total_rows * self.width * ITEM_BYTES[self.dtype] > MAX_TENSOR_BYTES:
            raise ValueError(f"a tensor of more than {MAX_TENSOR_BYTES} bytes")
        if self.decoded_bytes > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of more than {MAX_FRAME_BYTES} bytes")
        return self


class Pack(Frozen):
    """One object of frames, in the order of their offsets; ``name`` is relative and plain."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}\.pack$")]
    size: Annotated[int, Field(ge=1, le=MAX_PACK_BYTES)]
    frames: Annotated[tuple[Frame, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        end = 0
        for frame in self.frames:
            if frame.offset < end:
                raise ValueError(f"frames overlap at byte {frame.offset} of pack {self.name}")
            end = frame.offset + frame.size
        if end > self.size:
            raise ValueError(f"frames end at byte {end}, behind pack {self.name}'s {self.size}")
        return self


class _Versioned(BaseModel):
    version: Annotated[int, Field(ge=1)]


class ArtifactFields(Frozen):
    """What a manifest and its entry in the index both hold. ``grid``: tokens as (frames, rows,
    columns). Bytes as stored and as decoded; times are Unix seconds.

    A field that was added later needs a default: both are read back from before.
    """

    source_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    capture_key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    recipe: Recipe
    form: Form
    codec: CodecName
    grid: tuple[Side, Side, Side]
    layers: tuple[LayerIndex, ...]
    steps: tuple[StepIndex, ...]
    branches: tuple[Branch, ...]
    hidden_layers: tuple[LayerIndex, ...] = ()
    outputs: bool = False
    made_by: Annotated[str, Field(max_length=200)] = ""
    stored_bytes: Count
    decoded_bytes: Count
    created_at: int
    expires_at: int | None = None

    @property
    def plan(self) -> CapturePlan:
        """What it holds."""
        return CapturePlan(**{name: getattr(self, name) for name in CapturePlan.model_fields})


class ManifestHead(Frozen):
    version: int = MANIFEST_VERSION
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,199}$")]


class Manifest(ArtifactFields, ManifestHead):  # pydantic puts the last base's fields first
    """All that is known of one artifact. ``packs`` are in the order of the denoising."""

    packs: tuple[Pack, ...]

    @property
    def folder(self) -> str:
        """Where its packs lie, without a final slash."""
        return artifact_folder(self.project, self.source_key, self.capture_key)

    @property
    def key(self) -> str:
        return f"{manifests_folder(self.project, self.source_key)}/{self.capture_key}.json"

    def covers(self, needed: Needed) -> bool:
        """Whether an edit can be made from this artifact alone."""
        return self.plan.covers(needed)

    def recomputed_layers(self, needed: Needed) -> frozenset[int]:
        """The layers that an edit must recompute, since only latents tell their attention."""
        return self.plan.recomputed_layers(needed)

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [pack.name for pack in self.packs]
        if len(set(names)) != len(names):
            raise ValueError("two packs have the same name")
        decoded = sum(frame.decoded_bytes for pack in self.packs for frame in pack.frames)
        if decoded != self.decoded_bytes:
            raise ValueError(f"decoded_bytes {self.decoded_bytes} is not the frames' {decoded}")
        return self


def artifact_folder(project: str, source_key: str, capture_key: str) -> str:
    return f"artifacts/{project}/{source_key}/{capture_key}"


def manifests_folder(project: str, source_key: str) -> str:
    return f"manifests/{project}/{source_key}"


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``; raises ArtifactTooNew, ArtifactCorrupt."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactCorrupt(f"the manifest has {len(data)} bytes; {MAX_MANIFEST_BYTES} at most")
    try:
        version = _Versioned.model_validate_json(data).version
        if version > MANIFEST_VERSION:
            raise ArtifactTooNew(
                f"the manifest is of version {version}; this server reads up to {MANIFEST_VERSION}"
            )
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ArtifactCorrupt(f"the manifest's {field or 'fields'} are not valid") from None


def artifact_id(source_key: str, capture_key: str) -> str:
    return f"attn_{source_key}_{capture_key}"


def manifest_key(project: str, id: str) -> str | None:
    """Where the artifact's manifest lies; None: ``id`` is not the id of any artifact."""
    found = _ARTIFACT_ID.fullmatch(id)
    return f"{manifests_folder(project, found[1])}/{found[2]}.json" if found else None
