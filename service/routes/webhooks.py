"""``/v1/webhook_endpoints`` as the SDK manages them, and the status of deliveries."""

import secrets
import time
from typing import Annotated

import httpcore
from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from schemas.base import Frozen
from schemas.errors import InvalidRequest
from schemas.webhooks import (
    EVENT_TYPES,
    CreateEndpoint,
    DeliveryStatus,
    RotateSecret,
    SendTest,
    UpdateEndpoint,
    WebhookDelivery,
    WebhookDeliveryList,
    WebhookEndpoint,
    WebhookEndpointDeleted,
    WebhookEndpointList,
    WebhookEndpointWithSecret,
    WebhookEvent,
    WebhookEventTypeList,
    WebhookTestResult,
)
from service.background.egress import TargetRefused
from service.request.auth import Allowed, Call
from service.request.bodies import BodyOf
from service.wire.errors import COMMON, documented
from service.wire.examples import DELIVERY_ID, ENDPOINT_ID
from service.wire.openapi import accepts
from service.wire.replies import page_of, reply
from storage.webhooks import Endpoint

router = APIRouter(prefix="/v1", tags=["webhooks"], responses=COMMON)
EndpointId = Annotated[str, Path(examples=[ENDPOINT_ID])]
DeliveryId = Annotated[str, Path(examples=[DELIVERY_ID])]
CallDep = Annotated[Call, Depends(Allowed("webhooks"))]

ENDPOINT = {"name": "production", "url": "https://example.com/hook"}
CREATE = {"every event": {**ENDPOINT, "event_types": list(EVENT_TYPES)}}
PAGE = documented(400, 404)
BODY = documented(400, 408, 413, 415)


class PageQuery(Frozen):
    """A page: up to ``limit`` entries older than the id ``after``."""

    after: Annotated[str | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class DeliveriesQuery(PageQuery):
    """``status``: only these."""

    status: DeliveryStatus | None = None


@router.post(
    "/webhook_endpoints",
    response_model=WebhookEndpointWithSecret,
    responses=BODY,
    openapi_extra=accepts(CreateEndpoint, CREATE, form=False),
)
async def create_endpoint(
    call: CallDep,
    body: Annotated[CreateEndpoint, Depends(BodyOf(CreateEndpoint))],
) -> Response:
    """Have the project's events sent to a URL. The signing secret is shown this once."""
    call.state.targets.check_url(body.url, "url")
    return _with_secret(await call.state.webhook_dispatcher.store.create(call.project, body))


@router.get(
    "/webhook_endpoints", response_model=WebhookEndpointList, responses=documented(400, 404)
)
async def list_endpoints(call: CallDep, query: Annotated[PageQuery, Query()]) -> Response:
    """The project's endpoints, newest first."""
    shown = [
        endpoint.shown for endpoint in await call.state.webhook_dispatcher.store.list(call.project)
    ]
    return reply(page_of(WebhookEndpointList, shown, query.after, query.limit))


@router.get(
    "/webhook_endpoints/{endpoint_id}", response_model=WebhookEndpoint, responses=documented(404)
)
async def get_endpoint(endpoint_id: EndpointId, call: CallDep) -> Response:
    """One endpoint, without its secret."""
    return reply((await call.state.webhook_dispatcher.store.get(call.project, endpoint_id)).shown)


@router.post(
    "/webhook_endpoints/{endpoint_id}",
    response_model=WebhookEndpoint,
    responses={**BODY, **documented(404)},
    openapi_extra=accepts(UpdateEndpoint, {"rename": {"name": "staging"}}, form=False),
)
async def update_endpoint(
    endpoint_id: EndpointId,
    call: CallDep,
    body: Annotated[UpdateEndpoint, Depends(BodyOf(UpdateEndpoint))],
) -> Response:
    """Change an endpoint; what is not named stays."""
    if body.url is not None:
        call.state.targets.check_url(body.url, "url")
    return reply(
        (await call.state.webhook_dispatcher.store.update(call.project, endpoint_id, body)).shown
    )


@router.delete(
    "/webhook_endpoints/{endpoint_id}",
    response_model=WebhookEndpointDeleted,
    responses=documented(404),
)
async def delete_endpoint(endpoint_id: EndpointId, call: CallDep) -> Response:
    """Send nothing more to an endpoint; its open deliveries are given up."""
    await call.state.webhook_dispatcher.store.delete(call.project, endpoint_id)
    return reply(WebhookEndpointDeleted(id=endpoint_id))


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    response_model=WebhookEndpointWithSecret,
    responses={**BODY, **documented(404)},
    openapi_extra=accepts(
        RotateSecret,
        {"overlap": {"keep_old_secret_active_for_24_hours": True}},
        form=False,
        required=False,
    ),
)
async def rotate_secret(
    endpoint_id: EndpointId,
    call: CallDep,
    body: Annotated[RotateSecret, Depends(BodyOf(RotateSecret, optional=True))],
) -> Response:
    """A new signing secret, shown this once."""
    keep_old = body.keep_old_secret_active_for_24_hours
    store = call.state.webhook_dispatcher.store
    return _with_secret(await store.rotate(call.project, endpoint_id, keep_old=keep_old))


@router.post(
    "/webhook_endpoints/{endpoint_id}/test",
    response_model=WebhookTestResult,
    responses={**BODY, **documented(404)},
    openapi_extra=accepts(SendTest, {"completed": {"event_type": "video.completed"}}, form=False),
)
async def test_endpoint(
    endpoint_id: EndpointId,
    call: CallDep,
    body: Annotated[SendTest, Depends(BodyOf(SendTest))],
) -> Response:
    """Send a sample event now and tell what the endpoint answered."""
    endpoint = await call.state.webhook_dispatcher.store.get(call.project, endpoint_id)
    event = WebhookEvent(
        id=f"evt_test{secrets.token_hex(8)}",
        created_at=int(time.time()),
        type=body.event_type,
        data=WebhookEvent.Subject(id=f"{body.event_type.partition('.')[0]}_test00000000"),
    )
    try:
        status = await call.state.webhook_dispatcher.send(endpoint, event)
    except (TargetRefused, TimeoutError, httpcore.NetworkError, httpcore.TimeoutException,
            httpcore.ProtocolError):  # fmt: skip
        raise InvalidRequest(
            "url: the endpoint did not answer", param="url", code="webhook_unreachable"
        ) from None
    return reply(
        WebhookTestResult(
            webhook_endpoint_id=endpoint_id, event_type=body.event_type, status_code=status
        )
    )


@router.get("/webhook_event_types", response_model=WebhookEventTypeList)
async def list_event_types(call: CallDep) -> Response:
    """The events there are."""
    return reply(WebhookEventTypeList())


@router.get(
    "/webhook_deliveries", response_model=WebhookDeliveryList, responses=documented(400, 404)
)
async def list_deliveries(call: CallDep, query: Annotated[DeliveriesQuery, Query()]) -> Response:
    """The last week's deliveries, newest first; ``status=failed`` are the dead letters."""
    found = await call.state.webhook_dispatcher.store.deliveries(call.project, query.status)
    return reply(page_of(WebhookDeliveryList, found, query.after, query.limit))


@router.post(
    "/webhook_deliveries/{delivery_id}/redeliver",
    response_model=WebhookDelivery,
    responses=documented(404),
)
async def redeliver(delivery_id: DeliveryId, call: CallDep) -> Response:
    """Try a delivery again, whatever became of it."""
    queued = await call.state.webhook_dispatcher.store.redeliver(call.project, delivery_id)
    call.state.webhook_dispatcher.wake()
    return reply(queued.shown)


def _with_secret(endpoint: Endpoint) -> Response:
    return reply(
        WebhookEndpointWithSecret(**endpoint.shown.model_dump(), signing_secret=endpoint.secret)
    )
