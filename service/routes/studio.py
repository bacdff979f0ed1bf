"""``/studio``: the web page (docs/studio.md), and the redirect to it from ``/``.

The files need no key. The page calls the API with the key that its user enters.
"""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from service.wire.assets import Assets

router = APIRouter(include_in_schema=False)  # pages, not the API

STUDIO = Assets(
    "studio",
    {
        "img-src": "'self' blob:",  # content is fetched with the key, then shown as a blob
        "media-src": "blob:",
        # the browser itself refuses to turn any text into markup or script
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    },
)


@router.api_route("/", methods=["GET", "HEAD"])
def root(request: Request) -> Response:
    """Redirect browsers to the page; for programs there is nothing here."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse("studio", 302, headers={"vary": "accept"})


@router.api_route("/studio", methods=["GET", "HEAD"])
def studio(request: Request) -> Response:
    return STUDIO.reply(request, "index.html")


@router.api_route("/studio/", methods=["GET", "HEAD"])
def studio_with_slash() -> Response:
    """Links in the page are relative to ``/studio``, so that it works below a proxy's path too."""
    return RedirectResponse("../studio", 302)


@router.api_route("/studio/{name:path}", methods=["GET", "HEAD"])
def studio_file(name: str, request: Request) -> Response:
    return STUDIO.reply(request, name)
