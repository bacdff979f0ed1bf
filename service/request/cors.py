"""CORS: pages of which other origins may call this API from a browser (the Fetch standard, 3.2).

The API knows no cookies, so a page can do what its key allows and no more. This is the outermost
middleware, and is left out where no origin is named.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.wire.errors import envelope

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
# Response headers that scripts may read beside the few that they always may
EXPOSED = (
    "accept-ranges",
    "content-disposition",
    "content-range",
    "etag",
    "location",
    "openai-poll-after-ms",
    "retake-upload-id",
    "retry-after",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-expires",
    "upload-length",
    "upload-offset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
    "x-should-retry",
)
MAX_AGE_S = 600


class Cors(CORSMiddleware):
    """ASGI middleware. ``origins``: as browsers send them, or ``*``. Refusals are API errors."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=["*"],  # the OpenAI SDK sends a dozen of its own
            allow_private_network=True,
            expose_headers=EXPOSED,
            max_age=MAX_AGE_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        origin, method = (
            request_headers[name][:200] for name in ("origin", "access-control-request-method")
        )
        return envelope(
            400,
            f"Origin: {origin!r} with method {method!r} is not allowed; allowed are "
            f"{', '.join(METHODS)} from the origins that RETAKE_CORS_ORIGINS names",
            "invalid_request_error",
            "Origin",
            "origin_not_allowed",
            {"vary": response.headers["vary"]},
        )
