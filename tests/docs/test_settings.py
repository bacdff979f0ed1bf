"""docs/settings.md is what the settings classes say, and its examples work."""

import re
import shlex

import pytest

from service.settings import ServiceSettings
from tests.docs.settings_table import HEAD, PAGE, SECTIONS, page
from workers.settings import WorkerSettings


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run scripts/settings_table"


def test_every_setting_says_what_it_means() -> None:
    for _, _, settings, _ in SECTIONS:
        for name, info in settings.model_fields.items():
            if name != "storage":  # the variables of a section of their own
                assert info.description, f"{settings.__name__}.{name} has no description"


def test_its_examples_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAKE_REDIS_URL", "redis://localhost")
    monkeypatch.setenv("RETAKE_OBJECT_URL", "s3://bucket")
    for line in re.findall(r"^    (RETAKE_.*)$", HEAD, re.MULTILINE):
        ((name, _, value),) = [word.partition("=") for word in shlex.split(line)]
        monkeypatch.setenv(name, value)
    assert ServiceSettings().webhook_allow == ("10.0.0.0/8",)
    assert WorkerSettings().artifacts.device_cache_bytes == 8 << 30
    assert WorkerSettings().models[0].path == "/models/wan2.1-1.3b"
