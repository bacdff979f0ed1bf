"""HTTP requests to addresses that clients chose: never into our own network.

Names are resolved here, and the connection goes to the address that was checked, so that a name
cannot resolve to another one in between. Redirects are not followed. No proxy or other setting of
the environment is read.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from schemas.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What is not public although Python's tables, or those of its older versions, say so
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's host, as its machines see it
            "192.0.0.0/24",  # RFC 6890; 192.0.0.192 is Oracle Cloud's metadata
            "64:ff9b:1::/48",  # NAT64 within a network, RFC 8215
            "fec0::/10",  # site-local, RFC 3879
        ),
    )
)
# hosts that inet_aton(3) may read as an address: 1 to 4 numbers, decimal, octal or hexadecimal
NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")
MAX_CONNECTIONS = 32
RESOLVERS = 8


class TargetRefused(Exception):
    """The host is, or resolves to, an address that must not be called for clients."""


class EgressPolicy:
    """Which hosts may be called. ``allow``: names and networks that may be, although private.

    ``trust_names`` False: a name that is listed may be called by http, but has to have addresses
    that are public, or in a network that is listed too.
    """

    def __init__(self, allow: Iterable[str], *, trust_names: bool = True) -> None:
        # its own threads: a name that takes long must not hold up the rest of the process
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "egress-dns")
        self._trust_names = trust_names
        self.names: set[str] = set()
        self.networks: list[Network] = []
        for entry in allow:
            try:
                self.networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self.names.add(entry.lower())

    def check_url(self, url: str, param: str) -> str:
        """``url`` if its form and its host's name are allowed; raises InvalidRequest.

        What the name resolves to is checked at each call, since it may change.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("https", "http") or parts.username is not None:
            raise _url_error(url, param, "an https:// URL without user or password")
        if not url.isascii() or not url.isprintable() or " " in url or port == 0:
            raise _url_error(url, param, "an https:// URL in ASCII")
        host = host.removesuffix(".")
        address = _address(host)
        known = self.lists(host)
        if parts.scheme == "http" and not known:
            raise _url_error(url, param, "https:// only")
        private = not self.allows(address) if address else host.endswith(("localhost", ".internal"))
        if private and not known:
            raise _url_error(url, param, "a public host")
        return url

    def lists(self, host: str) -> bool:
        """Whether ``host``, a name or an address in any spelling, is listed itself."""
        address = _address(host)
        return host in self.names or (address is not None and self._is_listed(address))

    def allows(self, address: Address) -> bool:
        """Whether ``address`` is public or listed; an IPv4 address in it must be so too."""
        inner = _ipv4_in(address)
        if self._is_listed(address):
            return True
        public = address.is_global and not address.is_multicast and not address.is_reserved
        public = public and not any(address in network for network in NOT_PUBLIC)
        return self.allows(inner) if inner is not None else public

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def _is_listed(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of ``host``, all of them allowed; raises TargetRefused, OSError."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolvers, look_up)
        addresses = [str(entry[4][0]) for entry in found]
        if not (self._trust_names and host.lower() in self.names):
            for text in addresses:
                if not self.allows(ipaddress.ip_address(text)):
                    raise TargetRefused
        return addresses


class EgressBackend(AsyncNetworkBackend):
    """Connects only where ``EgressPolicy`` allows it; TLS still verifies the URL's host name."""

    def __init__(self, targets: EgressPolicy) -> None:
        self._targets = targets
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._targets.resolve(host, port)
        except (OSError, TimeoutError) as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError):
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
        return await self._inner.connect_tcp(
            addresses[-1], port, timeout, local_address, socket_options
        )


class EgressClient:
    """Sends requests, each within ``timeout_s``."""

    def __init__(
        self, targets: EgressPolicy, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._targets = targets
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        self._timeout_s = timeout_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=EgressBackend(targets),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer, whose body is not read.

        Raises TargetRefused, TimeoutError, and httpcore's errors for what fails on the way.
        """
        async with (
            asyncio.timeout(self._timeout_s),
            self._pool.stream(
                "POST",
                url,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": self._timeouts},
            ) as response,
        ):
            return response.status

    async def get(self, url: str, max_bytes: int) -> tuple[int, bytes]:
        """The status of the answer, and its body; of one that is longer, more than ``max_bytes``.

        Raises as ``post`` does.
        """
        body = bytearray()
        async with (
            asyncio.timeout(self._timeout_s),
            self._pool.stream("GET", url, extensions={"timeout": self._timeouts}) as response,
        ):
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > max_bytes:
                    break
            return response.status, bytes(body)

    async def close(self) -> None:
        await self._pool.aclose()
        self._targets.close()


def _address(host: str) -> Address | None:
    """The address that ``host`` is, in any spelling that resolvers take: 127.1, 2130706433."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if NUMBERS.fullmatch(host):
        with contextlib.suppress(OSError):
            return ipaddress.IPv4Address(socket.inet_aton(host))
    return None


def _ipv4_in(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address contains, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo


def _url_error(url: str, param: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param}: {url[:200]!r} is not allowed; allowed is {allowed}", param=param
    )
