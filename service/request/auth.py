"""Authentication: the project that a request acts for, and what its key allows.

Without keys (loopback only) every request is the ``default`` project's; pages of other sites, which
a browser on the same machine may have open, are refused by Host and Origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from schemas.errors import Forbidden, InvalidRequest, RateLimited, Unauthorized
from service.request.app_state import AppState, app_state
from storage.keys import SCOPES, Scope

DEFAULT_PROJECT = "default"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request: its project and scopes, and the state that answers it."""

    request: Request
    state: AppState
    project: str
    scopes: tuple[Scope, ...]


class Allowed:
    """A dependency that yields the call; ``scope`` None: read for GET and HEAD, else write.

    Counts the request against the project's rate limit, and sets the headers that say so.
    """

    def __init__(self, scope: Scope | None = None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Call:
        state = app_state(request)
        _refuse_repeats(request)
        scope = self.scope or ("read" if request.method in ("GET", "HEAD") else "write")
        if not state.settings.needs_keys:
            _refuse_other_sites(request, state.settings.cors_origins)
            return Call(request, state, DEFAULT_PROJECT, SCOPES)
        call = await _by_key(request, state)
        if scope not in call.scopes:
            raise Forbidden(
                f"this key's scopes are {', '.join(call.scopes)}; this call needs {scope}"
            )
        await _count(call)
        return call


def _refuse_repeats(request: Request) -> None:
    """A query parameter given twice has no one meaning; FastAPI would take the last."""
    if not request.scope["query_string"]:
        return
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"{name[:80]}: was given twice", param=name[:80])


async def _by_key(request: Request, state: AppState) -> Call:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthorized("no API key: send it as Authorization: Bearer", code="missing_api_key")
    key = await state.keys.find(secret.strip())
    if key is None:
        raise Unauthorized("this API key is unknown, revoked or expired")
    return Call(request, state, key.project, key.scopes)


async def _count(call: Call) -> None:
    admission = await call.state.limits.admit(call.project)
    if not admission.limit:
        return
    call.request.state.headers = {
        "x-ratelimit-limit-requests": str(admission.limit),
        "x-ratelimit-remaining-requests": str(admission.remaining),
        "x-ratelimit-reset-requests": f"{admission.reset_s:.3f}s",
    }
    if admission.wait_s > 0:
        raise RateLimited(
            f"{admission.limit} requests a minute are allowed to this project",
            retry_after_s=admission.wait_s,
        )


def _refuse_other_sites(request: Request, named: Sequence[str]) -> None:
    """``named``: other origins that are allowed."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    origin = request.headers.get("origin")
    stranger = origin and origin not in named and urlsplit(origin).hostname not in LOOPBACK
    if host not in LOOPBACK or stranger:
        raise Forbidden(
            "a server without keys answers this machine only, by a loopback name",
            code="not_loopback",
        )
