"""The manifest goes last: until then an artifact is invisible, from then on it is whole."""

import time
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from schemas.artifacts import Manifest, Pack, artifact_folder, manifests_folder, parse_manifest
from schemas.attention import Branch
from schemas.capture_plan import COMPUTED, INPUTS, OUTPUTS, TENSOR_NAMES, VELOCITY, CapturePlan
from schemas.errors import ArtifactCorrupt, ArtifactTooNew, ArtifactWriteFailed
from schemas.recipes import Recipe
from storage.objects.objects import ObjectMissing, ObjectStore

JSON = "application/json"


class Target(NamedTuple):
    """What an artifact is of, and until when it is kept (Unix seconds; None: for good)."""

    project: str
    recipe: Recipe
    plan: CapturePlan
    grid: tuple[int, int, int]
    expires_at: int | None = None

    @property
    def source_key(self) -> str:
        return self.recipe.key(self.project)

    @property
    def folder(self) -> str:
        """Where its packs go."""
        return artifact_folder(self.project, self.source_key, self.plan.key())

    @property
    def key(self) -> str:
        """Where its manifest goes."""
        return f"{manifests_folder(self.project, self.source_key)}/{self.plan.key()}.json"


def manifest_of(target: Target, packs: tuple[Pack, ...]) -> Manifest:
    plan = target.plan
    return Manifest(
        project=target.project,
        source_key=target.source_key,
        capture_key=plan.key(),
        recipe=target.recipe,
        form=plan.form,
        codec=plan.codec,
        grid=target.grid,
        layers=plan.layers,
        steps=plan.steps,
        branches=plan.branches,
        hidden_layers=plan.hidden_layers,
        outputs=plan.outputs,
        made_by=plan.made_by,
        stored_bytes=sum(pack.size for pack in packs),
        decoded_bytes=sum(frame.decoded_bytes for pack in packs for frame in pack.frames),
        created_at=int(time.time()),
        expires_at=target.expires_at,
        packs=packs,
    )


def publish(objects: ObjectStore, manifest: Manifest) -> Manifest:
    """Write ``manifest`` unless there is one already; the one that readers will see."""
    data = manifest.model_dump_json().encode()
    while not objects.put(manifest.key, data, content_type=JSON, if_absent=True):
        first = find_published(objects, manifest.key)
        if first is not None:
            return first
        # the key holds the format's version: what cannot be read here is of use to nobody
        objects.delete(manifest.key)
    return manifest


def find_published(objects: ObjectStore, key: str) -> Manifest | None:
    """The manifest there, if it is one that can be used."""
    try:
        manifest = parse_manifest(objects.get(key))
    except (ObjectMissing, ArtifactCorrupt, ArtifactTooNew):
        return None
    return None if manifest.expired(time.time()) else manifest


def check_complete(manifest: Manifest) -> None:
    """Raise ArtifactWriteFailed unless all that the plan names was captured."""
    had = {
        (frame.step, frame.branch, frame.layer, frame.name)
        for pack in manifest.packs
        for frame in pack.frames
    }
    for step, branch, layer, name in _expected_tensors(manifest):
        if (step, branch, layer, name) not in had:
            raise ArtifactWriteFailed(
                f"step {step}, branch {branch}, layer {layer}: {name} was not captured"
            )


def _expected_tensors(manifest: Manifest) -> Iterator[tuple[int, Branch, int, str]]:
    """All tensors that the plan names, as (step, branch, layer, name)."""
    form, layers = manifest.form, manifest.layers
    every_step = range(manifest.recipe.generation.num_inference_steps)
    if manifest.recipe.film is not None:
        yield (0, "cond", INPUTS, VELOCITY)
        yield from product(manifest.steps, ("cond",), (INPUTS,), COMPUTED[:1])
    elif manifest.outputs:
        yield from product(every_step, ("cond",), (INPUTS,), OUTPUTS[:1])
    if form == "latents":
        # a step's input is that of both branches
        yield from product(every_step, ("cond",), (INPUTS,), TENSOR_NAMES[form])
        form, layers = "hidden", manifest.hidden_layers
    yield from product(manifest.steps, manifest.branches, layers, TENSOR_NAMES[form])
