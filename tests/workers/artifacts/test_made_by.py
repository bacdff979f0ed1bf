"""After an upgrade: what was computed is used, what would be computed again by new code is not."""

import json
from pathlib import Path

import pytest
import torch

from schemas.artifacts import Manifest
from schemas.capture_plan import INPUTS, OUTPUTS
from storage.objects.folder import FolderStore
from tests.workers.artifacts.captures import (
    GRID,
    PROJECT,
    SMALL,
    TOKENS,
    WIDTH,
    everything,
    plan,
    recipe,
    write,
)
from workers.artifacts.made_by import made_by
from workers.artifacts.store import ArtifactStore
from workers.attention.maps import Address

OLDER = "torch 1.0.0 diffusers 0.1.0 transformers 1.0.0"
HIDDEN = plan()
LATENTS = plan(form="latents", outputs=True)


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def store(objects: FolderStore) -> ArtifactStore:
    return ArtifactStore(objects, SMALL)


def write_latents(store: ArtifactStore) -> Manifest:
    with store.open_writer(project=PROJECT, recipe=recipe(), plan=LATENTS, grid=GRID) as writer:
        for step in LATENTS.steps:
            for name in ("input", OUTPUTS[0]):
                writer.put(Address(step, "cond", INPUTS), name, torch.ones(1, TOKENS, WIDTH))
        return writer.commit()


def age(objects: FolderStore, manifest: Manifest, version: str) -> None:
    """As another version would have written it."""
    fields = json.loads(objects.get(manifest.key)) | {"made_by": version}
    objects.put(manifest.key, json.dumps(fields).encode())


def test_each_artifact_says_what_made_it(store: ArtifactStore) -> None:
    manifest, _ = write(store, HIDDEN)
    assert manifest.made_by == made_by()
    assert made_by().startswith(f"torch {torch.__version__.partition('+')[0]} diffusers ")


def test_what_was_computed_is_used_after_an_upgrade(
    store: ArtifactStore, objects: FolderStore
) -> None:
    manifest, _ = write(store, HIDDEN)
    age(objects, manifest, OLDER)
    assert store.find(PROJECT, manifest.source_key, everything(HIDDEN)) is not None


@pytest.mark.parametrize(("version", "used"), [(OLDER, False), ("", True), (made_by(), True)])
def test_latents_are_computed_again_by_the_code_that_made_them(
    store: ArtifactStore, objects: FolderStore, version: str, used: bool
) -> None:
    manifest = write_latents(store)
    age(objects, manifest, version)
    found = store.find(PROJECT, manifest.source_key, everything(LATENTS))
    assert (found is not None) is used


def test_only_latents_have_versions_in_their_key() -> None:
    for each, differs in ((HIDDEN, False), (LATENTS, True)):
        aged = each.model_copy(update={"made_by": OLDER})
        assert (aged.key() != each.key()) is differs
