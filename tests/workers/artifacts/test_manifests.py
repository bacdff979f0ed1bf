"""Manifests that nobody of ours wrote: refused by name, before anything is allocated or opened."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from schemas.artifacts import Manifest, parse_manifest
from schemas.capture_plan import MANIFEST_VERSION
from schemas.errors import ArtifactCorrupt, ArtifactTooNew
from storage.objects.objects import ObjectStore
from tests.workers.artifacts.captures import PROJECT, everything, plan, recipe, write
from workers.artifacts.store import ArtifactStore

PLAN = plan(layers=(0,), steps=(0,), branches=("cond",))

Change = Callable[[dict[str, Any]], object]


def frame_of(value: dict[str, Any]) -> dict[str, Any]:
    frame = value["packs"][0]["frames"][0]
    assert isinstance(frame, dict)
    return frame


HOSTILE: dict[str, Change] = {
    "a pack outside its folder": lambda v: v["packs"][0].update(name="../../../etc/passwd"),
    "an absolute pack": lambda v: v["packs"][0].update(name="/etc/passwd.pack"),
    "a pack of another project": lambda v: v["packs"][0].update(name="../beta/x.pack"),
    "a project that climbs": lambda v: v.update(project=".."),
    "a source key that climbs": lambda v: v.update(source_key="../" * 21 + "a"),
    "rows beyond the tensor": lambda v: frame_of(v).update(rows=[0, 10**12]),
    "no rows": lambda v: frame_of(v).update(rows=[5, 5]),
    "negative rows": lambda v: frame_of(v).update(rows=[-5, 5]),
    "an absurd shape": lambda v: frame_of(v).update(shape=[1 << 31, 1 << 31, 64], rows=[0, 1]),
    "too many dimensions": lambda v: frame_of(v).update(shape=[1] * 9),
    "a dimension of nothing": lambda v: frame_of(v).update(shape=[1, 0, 64]),
    "a frame behind its pack": lambda v: frame_of(v).update(size=1 << 28),
    "a frame of too many bytes": lambda v: frame_of(v).update(size=1 << 40),
    "overlapping frames": lambda v: v["packs"][0]["frames"][1].update(offset=0),
    "a negative offset": lambda v: frame_of(v).update(offset=-1),
    "an unknown codec": lambda v: frame_of(v).update(codec="pickle"),
    "an unknown dtype": lambda v: frame_of(v).update(dtype="object"),
    "an unknown field": lambda v: v.update(code="import os"),
    "a wrong sum of bytes": lambda v: v.update(decoded_bytes=1),
    "one pack twice": lambda v: v["packs"].append(v["packs"][0]),
    "a name that is none": lambda v: frame_of(v).update(name="../x"),
    "no version": lambda v: v.pop("version"),
    "version zero": lambda v: v.update(version=0),
    "a grid of nothing": lambda v: v.update(grid=[0, 4, 6]),
}


@pytest.fixture
def manifest(store: ArtifactStore) -> Manifest:
    return write(store, PLAN)[0]


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(store: ArtifactStore, objects: ObjectStore, manifest: Manifest, what: str) -> None:
    value = manifest.model_dump(mode="json")
    HOSTILE[what](value)
    data = json.dumps(value).encode()
    with pytest.raises(ArtifactCorrupt):
        parse_manifest(data)
    objects.put(manifest.key, data)
    assert store.find(PROJECT, recipe().key(PROJECT), everything(PLAN)) is None
    assert store.corrupt == 1


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b'{"version":"1"}', b"[" * 9999]
)
def test_no_manifest_at_all(data: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        parse_manifest(data)


def test_a_later_version_is_refused_by_its_number_and_left_alone(
    store: ArtifactStore, objects: ObjectStore, manifest: Manifest
) -> None:
    value = {"version": MANIFEST_VERSION + 1, "everything": "is different"}
    objects.put(manifest.key, json.dumps(value).encode())
    with pytest.raises(ArtifactTooNew, match=f"version {MANIFEST_VERSION + 1}"):
        parse_manifest(objects.get(manifest.key))
    assert store.find(PROJECT, recipe().key(PROJECT), everything(PLAN)) is None
    assert json.loads(objects.get(manifest.key)) == value
    assert store.corrupt == 0


def test_a_manifest_under_anothers_name_is_not_used(
    store: ArtifactStore, objects: ObjectStore, manifest: Manifest
) -> None:
    """Another project's artifact, copied into this one's folder."""
    other = recipe(prompt="mine").key(PROJECT)
    objects.put(
        f"manifests/{PROJECT}/{other}/{manifest.capture_key}.json", objects.get(manifest.key)
    )
    assert store.find(PROJECT, other, everything(PLAN)) is None


@pytest.mark.parametrize("rows", [[0, 16], [16, 32], [32, 40]])
def test_rows_that_do_not_add_up(store: ArtifactStore, manifest: Manifest, rows: list[int]) -> None:
    value = manifest.model_dump(mode="json")
    frames = value["packs"][0]["frames"]
    assert [frame["rows"] for frame in frames] == [[0, 32], [32, 48]]
    frames[1]["rows"] = rows
    value["decoded_bytes"] = sum((f["rows"][1] - f["rows"][0]) * 64 * 2 for f in frames)
    with pytest.raises(ArtifactCorrupt, match="rows are missing"):
        store.open_reader(parsed(value), everything(PLAN), torch.device("cpu"))


def parsed(value: dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps(value).encode())


def test_a_tensor_larger_than_the_window_is_refused(
    store: ArtifactStore, manifest: Manifest
) -> None:
    """Ever so small when encoded: zeros of 256 MiB a frame are a few kilobytes."""
    value = manifest.model_dump(mode="json")
    frame = frame_of(value)
    rows = (128 << 20) // (2 * 64)
    frames = [
        {
            **frame,
            "rows": [i * rows, (i + 1) * rows],
            "shape": [1, 64 * rows, 64],
            "offset": 9 * i,
            "size": 9,
        }
        for i in range(64)
    ]
    value["packs"][0].update(frames=frames, size=9 * 64)
    value.update(decoded_bytes=64 * (128 << 20))
    with pytest.raises(ArtifactCorrupt, match="reads tensors of up to"):
        store.open_reader(parsed(value), everything(PLAN), torch.device("cpu"))
