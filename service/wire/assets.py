"""Static files of a web page, with its security headers, compression and ETags.

The files of a page are read from its folder at the first request and kept in memory. Browsers ask
for each file every time and get 304 if it has not changed, so an upgrade shows at once.
"""

import gzip
import hashlib
from functools import cached_property
from importlib.resources import files
from pathlib import PurePosixPath
from typing import NamedTuple

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.wire.content import etag_matches

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
# Of Content-Security-Policy: a page loads from its own server only, and runs no inline code
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "cache-control": "no-cache",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}


class Asset(NamedTuple):
    body: bytes
    gzipped: bytes
    media_type: str
    etag: str


class Assets:
    """The files below ``service/{folder}``. ``policy``: directives that change or extend POLICY."""

    def __init__(self, folder: str, policy: dict[str, str]) -> None:
        self._folder = folder
        csp = "; ".join(f"{name} {sources}" for name, sources in {**POLICY, **policy}.items())
        self._headers = {**HEADERS, "content-security-policy": csp}

    @cached_property
    def _assets(self) -> dict[str, Asset]:
        return {name: _asset(name, body) for name, body in _files(self._folder).items()}

    def reply(self, request: Request, name: str) -> Response:
        """The file ``name``, or 304; raises HTTPException (404) if the page has no such file."""
        found = self._assets.get(name)
        if found is None:
            raise HTTPException(404)
        headers = {**self._headers, "etag": found.etag}
        if etag_matches(request.headers.get("if-none-match"), found.etag):
            return Response(status_code=304, headers=headers)
        body = found.body
        if "gzip" in request.headers.get("accept-encoding", "") and found.gzipped < body:
            body, headers["content-encoding"] = found.gzipped, "gzip"
        headers["content-length"] = str(len(body))
        if request.method == "HEAD":
            body = b""
        return Response(body, headers=headers, media_type=found.media_type)


def _files(folder: str) -> dict[str, bytes]:
    """The files of the types in MEDIA_TYPES, by path below ``folder``."""
    root = files("service") / folder
    found: dict[str, bytes] = {}
    waiting = [(root, PurePosixPath())]
    while waiting:
        place, path = waiting.pop()
        for entry in place.iterdir():
            below = path / entry.name
            if entry.is_dir():
                waiting.append((entry, below))
            elif below.suffix in MEDIA_TYPES:
                found[str(below)] = entry.read_bytes()
    return found


def _asset(name: str, body: bytes) -> Asset:
    return Asset(
        body=body,
        gzipped=gzip.compress(body, mtime=0),
        media_type=MEDIA_TYPES[PurePosixPath(name).suffix],
        # weak, because it stands for the file with and without gzip
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:32]}"',
    )
