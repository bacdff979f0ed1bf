"""Small artifacts to list and to sweep."""

from typing import Any

from schemas.artifacts import Frame, Manifest, Pack, artifact_id
from schemas.capture_plan import CapturePlan
from storage.objects.objects import ObjectStore
from tests.storage.specs import make_spec

PLAN = CapturePlan(form="hidden", codec="raw", layers=(0,), steps=(0,), branches=("cond",))
FRAME = Frame(
    name="hidden",
    step=0,
    branch="cond",
    layer=0,
    codec="raw",
    dtype="float32",
    shape=(1, 1, 4),
    rows=(0, 1),
    offset=0,
    size=16,
    crc32c=0,
)


def artifact(project: str = "alpha", seed: int = 0, **fields: Any) -> Manifest:
    """One pack of one frame."""
    recipe = make_spec("video_1").recipe
    generation = recipe.generation.model_copy(update={"seed": seed})
    recipe = recipe.model_copy(update={"generation": generation})
    return Manifest(
        **{
            "project": project,
            "source_key": recipe.key(project),
            "capture_key": PLAN.key(),
            "recipe": recipe,
            "grid": (1, 1, 1),
            "stored_bytes": 16,
            "decoded_bytes": 16,
            "created_at": 1_700_000_000 + seed,
            "packs": (Pack(name="n-0-cond-0.pack", size=16, frames=(FRAME,)),),
            **PLAN.model_dump(),
            **fields,
        }
    )


def id_of(manifest: Manifest) -> str:
    return artifact_id(manifest.source_key, manifest.capture_key)


def write(objects: ObjectStore, manifest: Manifest) -> None:
    for pack in manifest.packs:
        objects.put(f"{manifest.folder}/{pack.name}", bytes(pack.size))
    objects.put(manifest.key, manifest.model_dump_json().encode())
