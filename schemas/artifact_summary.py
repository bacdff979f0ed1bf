"""An artifact as it is listed: in the index, and by the API."""

from typing import Any

from pydantic import ConfigDict

from schemas.artifacts import ArtifactFields, Manifest, artifact_id
from schemas.base import Frozen


class ArtifactHead(Frozen):
    """``id``: names an artifact within its project, and says where its manifest lies."""

    id: str


def _require_all(schema: dict[str, Any]) -> None:
    schema["required"] = list(schema["properties"])


class Artifact(ArtifactFields, ArtifactHead):
    """What is listed of an artifact: its manifest without the packs."""

    # a reply always has every field, whatever may be left out of a record
    model_config = ConfigDict(json_schema_extra=_require_all)


def artifact_of(manifest: Manifest) -> Artifact:
    same = {name: getattr(manifest, name) for name in Artifact.model_fields if name != "id"}
    return Artifact(id=artifact_id(manifest.source_key, manifest.capture_key), **same)
