"""Webhook bodies: bounds, and the shape of the event that an endpoint receives."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.base import Frozen
from schemas.webhooks import CreateEndpoint, SendTest, UpdateEndpoint, WebhookEvent

ENDPOINT = {"name": "hook", "url": "https://example.com", "event_types": ["video.completed"]}
REFUSED: list[tuple[type[Frozen], dict[str, Any], str]] = [
    (CreateEndpoint, {**ENDPOINT, "name": ""}, "at least 1 character"),
    (CreateEndpoint, {**ENDPOINT, "name": "x" * 201}, "at most 200"),
    (CreateEndpoint, {**ENDPOINT, "url": "x" * 2049}, "at most 2048"),
    (CreateEndpoint, {**ENDPOINT, "event_types": []}, "at least 1 item"),
    (CreateEndpoint, {**ENDPOINT, "event_types": ["video.started"]}, "'video.completed'"),
    (UpdateEndpoint, {"url": ""}, "at least 1 character"),
    (SendTest, {}, "Field required"),
]


@pytest.mark.parametrize(("model", "value", "match"), REFUSED)
def test_a_body_that_is_not_allowed(model: type[Frozen], value: Any, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        model.model_validate(value)


def test_an_event_on_the_wire() -> None:
    event = WebhookEvent(
        id="evt_1",
        created_at=1,
        type="video.completed",
        data=WebhookEvent.Subject(id="video_00000001"),
    )
    assert event.model_dump(mode="json") == {
        "id": "evt_1",
        "object": "event",
        "created_at": 1,
        "type": "video.completed",
        "data": {"id": "video_00000001"},
    }
