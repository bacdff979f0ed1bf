"""``/docs``: Swagger UI for ``/openapi.json``, from files of ours (service/swagger/VENDORED.md)."""

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from service.wire.assets import Assets

router = APIRouter(include_in_schema=False)  # pages, not the API

SWAGGER = Assets("swagger", {"img-src": "'self' blob: data:"})  # data: icons in its CSS


@router.api_route("/docs", methods=["GET", "HEAD"])
def docs(request: Request) -> Response:
    return SWAGGER.reply(request, "index.html")


@router.api_route("/docs/", methods=["GET", "HEAD"])
def docs_with_slash() -> Response:
    return RedirectResponse("../docs", 302)


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
def docs_file(name: str, request: Request) -> Response:
    return SWAGGER.reply(request, name)
