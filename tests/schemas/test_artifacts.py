"""Manifests and their keys. Hostile ones: tests/workers/artifacts/test_manifests.py."""

import json

import pytest
from pydantic import ValidationError

from schemas.artifact_summary import Artifact, artifact_of
from schemas.artifacts import (
    MAX_FRAME_BYTES,
    Frame,
    Manifest,
    Pack,
    artifact_id,
    manifest_key,
    parse_manifest,
)
from tests.schemas.records import (
    FRAME,
    HIDDEN_KEY,
    MANIFEST,
    SOURCE_KEY,
)


def test_places_in_the_object_store() -> None:
    name = artifact_id(SOURCE_KEY, HIDDEN_KEY)
    assert name == f"attn_{SOURCE_KEY}_{HIDDEN_KEY}"
    assert MANIFEST.folder == f"artifacts/default/{SOURCE_KEY}/{HIDDEN_KEY}"
    assert MANIFEST.key == f"manifests/default/{SOURCE_KEY}/{HIDDEN_KEY}.json"
    assert manifest_key("default", name) == MANIFEST.key


@pytest.mark.parametrize(
    "name", ["", "attn_", f"attn_{SOURCE_KEY}_", f"attn_{'../' * 21}a_{HIDDEN_KEY}", SOURCE_KEY]
)
def test_what_is_no_artifacts_id_lies_nowhere(name: str) -> None:
    assert manifest_key("default", name) is None


def test_a_manifest_is_read_as_it_was_written() -> None:
    data = MANIFEST.model_dump_json().encode()
    assert parse_manifest(data) == MANIFEST
    assert list(json.loads(data))[:4] == ["version", "project", "source_key", "capture_key"]


@pytest.mark.parametrize("later", ["hidden_layers", "outputs", "expires_at"])
def test_fields_that_came_later_may_be_absent(later: str) -> None:
    """From a manifest, and from its entry in Redis, which older versions wrote."""
    for value in (MANIFEST, artifact_of(MANIFEST)):
        record = value.model_dump(mode="json")
        del record[later]
        assert type(value).model_validate(record) == value


def test_what_is_listed_is_the_manifest_without_its_packs() -> None:
    listed = artifact_of(MANIFEST)
    assert listed.id == artifact_id(SOURCE_KEY, HIDDEN_KEY)
    for name in set(Artifact.model_fields) - {"id"}:
        assert getattr(listed, name) == getattr(MANIFEST, name)
    assert set(Manifest.model_fields) - set(Artifact.model_fields) == {
        "version", "project", "packs",
    }  # fmt: skip
    assert next(iter(listed.model_dump())) == "id"


def test_a_reply_promises_every_field() -> None:
    assert set(Artifact.model_json_schema()["required"]) == set(Artifact.model_fields)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rows": (0, 9)}, "not within 0 to 8"),
        ({"rows": (4, 4)}, "not within"),
        ({"shape": (1, 1 << 30, 1 << 10), "rows": (0, 1)}, "a tensor of more than"),
        (
            {"shape": (1, 1 << 20, 1 << 10), "rows": (0, MAX_FRAME_BYTES // 4096 + 1)},
            "a frame of more than",
        ),
        ({"name": "../x"}, "pattern"),
        ({"crc32c": 1 << 32}, "less than"),
    ],
)
def test_a_frame_is_bounded_before_anything_is_read(change: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Frame.model_validate(FRAME.model_dump() | change)


def test_frames_lie_behind_one_another_in_their_pack() -> None:
    second = FRAME.model_copy(update={"offset": 700})
    Pack(name="a.pack", size=1400, frames=(FRAME, second))
    with pytest.raises(ValidationError, match="overlap at byte 699"):
        Pack(name="a.pack", size=1400, frames=(FRAME, second.model_copy(update={"offset": 699})))
    with pytest.raises(ValidationError, match="behind pack"):
        Pack(name="a.pack", size=1399, frames=(FRAME, second))


def test_an_artifact_expires_at_its_second() -> None:
    kept = MANIFEST.model_copy(update={"expires_at": 100})
    assert [kept.expired(now) for now in (99.9, 100.0)] == [False, True]
    assert not MANIFEST.expired(1e12)
