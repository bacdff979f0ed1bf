"""Artifacts as objects: reading, listing and deleting them.

The manifest is deleted first, so that a reader that finds an artifact finds all of it.
"""

import logging
from collections.abc import Iterable, Iterator

from schemas.artifacts import Manifest, artifact_folder, manifest_key, parse_manifest
from schemas.errors import ArtifactCorrupt, ArtifactTooNew, NotFound
from schemas.maps import maps_folder
from storage.objects.objects import ObjectMissing, ObjectStore

log = logging.getLogger("retake.artifacts")


def read_manifest(objects: ObjectStore, project: str, artifact_id: str) -> Manifest:
    """Raises NotFound, ArtifactCorrupt, ArtifactTooNew."""
    key = manifest_key(project, artifact_id)
    try:
        if key is not None:
            return parse_manifest(objects.get(key))
    except ObjectMissing:
        pass
    raise NotFound(f"attention {artifact_id!r} does not exist")


def list_manifests(objects: ObjectStore, prefix: str = "manifests") -> Iterator[Manifest]:
    """Every manifest that can be read; one that cannot is logged and left as it is."""
    yield from read_manifests(objects, (info.key for info in objects.list(prefix)))


def read_manifests(objects: ObjectStore, keys: Iterable[str]) -> Iterator[Manifest]:
    """As ``list_manifests``, those of ``keys``."""
    for key in keys:
        try:
            manifest = parse_manifest(objects.get(key))
        except (ObjectMissing, ArtifactCorrupt, ArtifactTooNew) as error:
            log.warning("manifest=%s not listed: %s", key, type(error).__name__)
            continue
        if manifest.key == key:
            yield manifest


def delete_artifact(objects: ObjectStore, project: str, artifact_id: str) -> None:
    """With the pictures of its maps. Missing objects are no error; raises NotFound for an id that
    no artifact can have."""
    key = manifest_key(project, artifact_id)
    if key is None:
        raise NotFound(f"attention {artifact_id!r} does not exist")
    _, source_key, capture_key = artifact_id.split("_")
    objects.delete(key)
    objects.delete_prefix(artifact_folder(project, source_key, capture_key))
    objects.delete_prefix(maps_folder(project, artifact_id))
