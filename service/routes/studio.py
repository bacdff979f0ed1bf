"""``/studio``: the web page on which people keep the shot, and the way to it from ``/``.

The page speaks to this API alone, with the key that its user gives it; its files need none.
"""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from service.wire.assets import Assets

router = APIRouter(include_in_schema=False)  # pages, not the API

STUDIO = Assets(
    "studio",
    {
        "img-src": "'self' blob:",  # films, thumbnails and maps come with the key, as blobs
        "media-src": "blob:",
        # no text becomes markup or script, whatever it says: the browser refuses to make it so
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    },
)


@router.api_route("/", methods=["GET", "HEAD"])
def root(request: Request) -> Response:
    """Send people on to the page; programs find nothing here."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse("studio", 302, headers={"vary": "accept"})


@router.api_route("/studio", methods=["GET", "HEAD"])
def studio(request: Request) -> Response:
    return STUDIO.reply(request, "index.html")


@router.api_route("/studio/", methods=["GET", "HEAD"])
def studio_with_slash() -> Response:
    """The page's links are relative, so that a proxy may serve all of it below a path."""
    return RedirectResponse("../studio", 302)


@router.api_route("/studio/{name:path}", methods=["GET", "HEAD"])
def studio_file(name: str, request: Request) -> Response:
    return STUDIO.reply(request, name)
