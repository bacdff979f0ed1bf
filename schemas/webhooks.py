"""Webhooks as the OpenAI SDK manages them: endpoints, their events, and what became of each.

Signed by the Standard Webhooks scheme; deliveries are ours, the SDK has no call for them.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Frozen, OneError

EventType = Literal["video.completed", "video.failed", "analysis.completed", "analysis.failed"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
DeliveryStatus = Literal["pending", "delivered", "failed"]

EventTypes = Annotated[
    tuple[EventType, ...], Field(min_length=1, max_length=len(EVENT_TYPES)), OneError()
]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Url = Annotated[str, Field(min_length=1, max_length=2048, examples=["https://example.com/hook"])]


class CreateEndpoint(Frozen):
    """``POST /v1/webhook_endpoints``."""

    name: Name
    url: Url
    event_types: EventTypes


class UpdateEndpoint(Frozen):
    """``POST /v1/webhook_endpoints/{id}``: what is not given stays."""

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None


class RotateSecret(Frozen):
    keep_old_secret_active_for_24_hours: bool = False


class SendTest(Frozen):
    event_type: EventType


class WebhookEndpoint(Frozen):
    """Where a project's events are sent. Times are Unix seconds."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: tuple[EventType, ...]
    created_at: int
    updated_at: int
    signing_secret_hint: str


class WebhookEndpointWithSecret(WebhookEndpoint):
    """Shown once, when the secret is made: ``whsec_`` and base64."""

    signing_secret: str


class WebhookEndpointList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[WebhookEndpoint, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookEndpointDeleted(Frozen):
    id: str
    deleted: Literal[True] = True
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


class WebhookTestResult(Frozen):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True] = True


class WebhookEventTypeList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[EventType, ...] = EVENT_TYPES


class WebhookDelivery(Frozen):
    """One event on its way to one endpoint. ``failed``: given up; it can be delivered again.

    ``video_id``: of what has ended, a video or an analysis.
    ``last_error``: why the last attempt did not count, in words of ours.
    """

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str
    event_id: str
    event_type: EventType
    video_id: str
    status: DeliveryStatus = "pending"
    attempts: int = 0
    created_at: int
    next_attempt_at: int | None
    last_status_code: int | None = None
    last_error: str | None = None


class WebhookDeliveryList(Frozen):
    object: Literal["list"] = "list"
    data: tuple[WebhookDelivery, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookEvent(Frozen):
    """The body that an endpoint receives."""

    class Subject(Frozen):
        id: str

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: EventType
    data: Subject
