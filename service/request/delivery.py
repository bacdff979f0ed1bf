"""Stored content to a client: by redirect to the store where it can presign, else as bytes."""

import asyncio

from starlette.responses import RedirectResponse, Response

from service.request.auth import Call
from service.settings import Delivery
from service.wire.content import Content, bytes_reply


async def deliver(call: Call, content: Content, asked: Delivery | None) -> Response:
    """``asked`` None: as the server's settings say. Raises ObjectMissing, RangeNotSatisfiable."""
    objects, settings = call.state.objects, call.state.settings
    # a URL that is signed for GET is of no use to a HEAD: that is answered here
    if (asked or settings.delivery) == "redirect" and call.request.method == "GET":
        url = await asyncio.to_thread(
            objects.presign,
            content.key,
            expires_s=settings.presign_ttl_s,
            filename=content.filename,
            content_type=content.media_type,
        )
        if url is not None:
            return RedirectResponse(url, 302, headers={"cache-control": "no-store"})
    info = await asyncio.to_thread(objects.stat, content.key)
    return bytes_reply(call.request, objects, content, info)
