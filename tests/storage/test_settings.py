"""Settings refuse what cannot work, and say so."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from storage.connect import open_objects
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.settings import StorageSettings

GOOD: dict[str, Any] = {"redis_url": "redis://localhost", "object_url": "file:///data"}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAKE_REDIS_URL", "rediss://:pass@redis.example.com:6379/0")
    monkeypatch.setenv("RETAKE_OBJECT_URL", "s3://bucket/prefix")
    settings = StorageSettings()
    assert settings.object_url == "s3://bucket/prefix"
    assert settings.redis_prefix == "retake"
    assert "pass" not in repr(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"redis_url": "http://localhost"},
        {"redis_url": ""},
        {"object_url": "file://host/folder"},
        {"object_url": "file:relative"},
        {"object_url": "/data"},
        {"object_url": "s3://"},
        {"object_url": "gs://bucket"},
        {"s3_endpoint_url": "localhost:8333"},
        {"public_endpoint_url": "ftp://example.com"},
        {"redis_prefix": "a:b"},
        {"redis_prefix": ""},
        {"unknown": "1"},
    ],
)
def test_what_is_not_allowed_is_refused(change: dict[str, Any]) -> None:
    StorageSettings(**GOOD)
    with pytest.raises(ValidationError, match=next(iter(change))):
        StorageSettings(**{**GOOD, **change})


def test_settings_are_frozen() -> None:
    settings = StorageSettings(**GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "redis_prefix", "other")  # noqa: B010 - mypy knows it too


def test_urls_choose_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    store = open_objects(StorageSettings(**{**GOOD, "object_url": folder.as_uri()}))
    assert isinstance(store, FolderStore)
    store.put("a", b"1")
    assert (folder / "a").read_bytes() == b"1"
    s3 = StorageSettings(**{**GOOD, "object_url": "s3://bucket/a/b", "s3_region": "eu-west-1"})
    assert isinstance(open_objects(s3), S3Store)
