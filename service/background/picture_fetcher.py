"""Pictures whose address a request gives: fetched from hosts that the operator allows, no others.

As webhooks do, it calls no private address and follows no redirect; see ``egress``.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import httpcore

from schemas.errors import InvalidRequest, TooLarge, Unsupported
from service.background.egress import EgressClient, EgressPolicy, TargetRefused

ANY = "*"
OK = 200
REDIRECTS = range(300, 400)


class PictureFetcher:
    """``hosts``: names, networks, or ``*`` for any host. One picture may take ``timeout_s``, and be
    as long as ``max_bytes``."""

    def __init__(self, hosts: Sequence[str], timeout_s: float, max_bytes: int) -> None:
        self._any = ANY in hosts
        self._fetches = bool(hosts)
        self._policy = EgressPolicy(hosts, trust_names=False)
        self._client = EgressClient(self._policy, timeout_s)
        self._timeout_s, self._max_bytes = timeout_s, max_bytes

    async def fetch(self, url: str, param: str) -> bytes:
        """The file at ``url``. Raises Unsupported (its host is not allowed), InvalidRequest (it
        does not answer with a file), TooLarge."""
        self._check(url, param)
        try:
            status, data = await self._client.get(url, self._max_bytes)
        except TimeoutError:
            raise _failed(param, f"takes longer than the {self._timeout_s:g} seconds") from None
        except (TargetRefused, OSError, httpcore.NetworkError, httpcore.ProtocolError,
                httpcore.UnsupportedProtocol, httpcore.TimeoutException):  # fmt: skip
            # one answer for all of them: what there is in our network is not told
            raise _failed(param, "cannot be reached") from None
        if status in REDIRECTS:
            raise _failed(param, f"answers with status {status}, and redirects are not followed")
        if status != OK:
            raise _failed(param, f"answers with status {status}")
        if len(data) > self._max_bytes:
            raise TooLarge(f"{param}: more bytes than the {self._max_bytes} allowed", param=param)
        return data

    def _check(self, url: str, param: str) -> None:
        if not self._fetches:
            raise Unsupported(
                f"{param}: {url[:80]!r} is not allowed: no address is fetched; allowed are data "
                "URLs (data:image/png;base64,…), file_id with an upload's id, or a file of a form",
                param=param,
            )
        self._policy.check_url(url, param)
        host = (urlsplit(url).hostname or "").removesuffix(".")
        if not (self._any or self._policy.lists(host)):
            raise Unsupported(
                f"{param}: host {host[:80]!r} is not one that this server fetches from; send a "
                "data URL, an upload's file_id or a file of a form",
                param=param,
            )

    async def close(self) -> None:
        await self._client.close()


def _failed(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: the address {why}", param=param, code="picture_not_fetched")
