"""Request bodies: bounds that hold for every model, before a card is asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.base import Frozen
from schemas.requests import (
    BatchEdit,
    CreateVideo,
    EditVideo,
    JobOptions,
    RemixVideo,
    Settings,
    SourceByPrompt,
)

PROMPT = {"prompt": "a car"}
REFUSED: list[tuple[type[Frozen], dict[str, Any], str]] = [
    (CreateVideo, {}, "Field required"),
    (CreateVideo, {"prompt": ""}, "at least 1 character"),
    (CreateVideo, {"prompt": " \t\n"}, "more than spaces"),
    (CreateVideo, {"prompt": "a\0"}, "null character"),
    (Settings, {"negative_prompt": "\0"}, "null character"),
    (CreateVideo, {**PROMPT, "n": 2}, "Extra inputs"),
    (Settings, {"seed": -1}, "greater than or equal to 0"),
    (Settings, {"seed": 2**63}, "less than or equal to"),
    (Settings, {"size": "832 x 480"}, "pattern"),
    (Settings, {"size": "0x480"}, "pattern"),
    (Settings, {"seconds": "4s"}, "pattern"),
    (Settings, {"seconds": "4", "num_frames": 17}, "not both"),
    (Settings, {"seconds": True}, "valid string"),
    (Settings, {"seconds": -1}, "pattern"),
    (Settings, {"fps": 2**63}, "less than or equal to 9223372036854775807"),
    (Settings, {"guidance_scale": float("inf")}, "finite number"),
    (Settings, {"loras": [["warm", 1.0]] * 5}, "at most 4"),
    (JobOptions, {"priority": "urgent"}, "'high'"),
    (JobOptions, {"preview_every": 0}, "greater than or equal to 1"),
    (JobOptions, {"webhook_url": "x" * 2049}, "at most 2048"),
    (SourceByPrompt, PROMPT, "Field required"),
    (EditVideo, PROMPT, "name the source"),
    (
        EditVideo,
        {**PROMPT, "video": {"id": "video_00000001"}, "source": {**PROMPT, "seed": 1}},
        "name the source",
    ),
    (EditVideo, {**PROMPT, "video": {"id": "../x"}}, "pattern"),
    (RemixVideo, {**PROMPT, "seed": 1}, "Extra inputs"),
    (BatchEdit, {"edits": []}, "at least 1 item"),
    (BatchEdit, {"edits": [PROMPT] * 65}, "at most 64 items"),
]


@pytest.mark.parametrize(("model", "value", "match"), REFUSED)
def test_a_body_that_is_not_allowed(model: type[Frozen], value: Any, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        model.model_validate(value)


def test_the_largest_bodies_are_allowed() -> None:
    Settings(seed=2**63 - 1, size="99999x99999", num_frames=10_000, num_inference_steps=1000)
    CreateVideo(prompt="x" * 100_000, fps=10**6, guidance_scale=-1)  # the model's to say
    BatchEdit(edits=(RemixVideo(prompt="x" * 4096),) * 64)


def test_what_is_left_open_is_the_models_to_say() -> None:
    body = CreateVideo(prompt="a car")
    assert {name for name in Settings.model_fields if getattr(body, name) is not None} == set()
    assert (body.capture, body.priority) == (None, "normal")


@pytest.mark.parametrize(
    ("given", "text"),
    [("5.0625", "5.0625"), (4, "4"), (0.5625, "0.5625"), (2.0, "2"), (1 / 3, "0.333333333333")],
)
def test_seconds_are_a_string_or_a_number(given: object, text: str) -> None:
    assert Settings.model_validate({"seconds": given}).seconds == text


@pytest.mark.parametrize("scale", ["1e999", "-1e999", "101"])
def test_a_loras_scale_is_a_number(scale: str) -> None:
    body = f'{{"prompt": "a car", "loras": [["x", {scale}]]}}'
    with pytest.raises(ValidationError, match=r"loras\.0\.1"):
        CreateVideo.model_validate_json(body)
