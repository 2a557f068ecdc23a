"""The one way out: httpx on aiohttp's connections, with the errors told apart, and to public addresses only where asked.

httpx-aiohttp gives a refused connection, a failed name lookup, a drop after the request was sent and a full pool all as
ConnectTimeout. They differ in what matters: a dropped POST may have been billed, a refused one not.
"""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

from lowtide.values.addresses import PrivateAddress, is_public

MAX_CONNECTIONS = 1_000
KEEP_ALIVE_S = 30.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host for a port. Raises OSError where it has none."""

# By the cause underneath, the first that fits.
_MENDED: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.ReadError),
    (UnicodeError, httpx.UnsupportedProtocol),  # a host whose labels are empty or too long
)


# Reading the certificates takes 0.1 s and more; all transports trust the same.
_tls = functools.cache(httpx.create_ssl_context)


class RefusedAddress(PrivateAddress, httpx.ConnectError):
    """What a transport for public addresses only raises: httpx's ConnectError and the market's PrivateAddress at once."""

    def __init__(self, host: str, address: str, request: httpx.Request) -> None:
        PrivateAddress.__init__(self, host, address)
        self.request = request


class Transport(httpx.AsyncBaseTransport):
    """Keep-alive connections for all that goes out: wires call it directly, feeds through `httpx.AsyncClient`.

    With `public_only` it connects to addresses of the open Internet only: a name is refused if any of its addresses is
    another, and every address is checked once more where its socket is made, so that no second look-up and no spelling
    of a literal comes between. `resolve` is asked for names in place of the system.
    """

    def __init__(
        self,
        max_connections: int = MAX_CONNECTIONS,
        *,
        public_only: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        # The places are counted here, because aiohttp tells a full pool and a slow connection by the same exception.
        self._places = asyncio.Semaphore(max_connections)
        self._inner = AiohttpTransport(verify=_tls())
        self._inner.client = self._session
        self._public_only = public_only
        self._resolve = resolve

    def _session(self) -> aiohttp.ClientSession:
        limits: dict[str, Any] = {}
        if self._public_only or self._resolve is not None:
            limits["resolver"] = _Resolver(self._resolve or addresses_of, self._public_only)
        if self._public_only:
            limits["socket_factory"] = _public_socket
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=self._inner.ssl_context, **limits
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body is read through the response's stream. Raises httpx's transport errors.

        Of these, RefusedAddress where the host is no public one and only such are wanted.
        """
        asked = request.extensions
        limits = asked.get("timeout", {})
        await self._take_place(limits.get("pool"), request)
        try:
            # What aiohttp is told as "pool" bounds name lookup, connection and TLS together.
            request.extensions = {**asked, "timeout": {**limits, "pool": limits.get("connect")}}
            response = await self._inner.handle_async_request(request)
        except BaseException as fault:
            self._places.release()
            if isinstance(fault, PrivateAddress):
                raise RefusedAddress(request.url.host, fault.address, request) from fault
            if isinstance(fault, (httpx.TransportError, aiohttp.ClientError, UnicodeError)):
                raise mended(fault, request) from fault
            raise
        finally:
            request.extensions = asked
        inner = cast("httpx.AsyncByteStream", response.stream)
        response.stream = _Stream(inner, request, self._places.release)
        return response

    async def _take_place(self, timeout_s: float | None, request: httpx.Request) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("All connections are in use.", request=request) from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(
        self, inner: httpx.AsyncByteStream, request: httpx.Request, release: Callable[[], None]
    ) -> None:
        self._inner, self._request, self._release = inner, request, release
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except (httpx.TransportError, aiohttp.ClientError) as fault:
            raise mended(fault, self._request) from fault

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._inner.aclose()
        finally:
            self._release()


class _Resolver(AbstractResolver):
    def __init__(self, resolve: Resolve, public_only: bool) -> None:
        self._resolve, self._public_only = resolve, public_only

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await self._resolve(host, port)
        if self._public_only:
            refuse_private_among(host, addresses)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=_family(address), proto=0, flags=_NUMERIC
            )
            for address in addresses
            if family in (socket.AF_UNSPEC, _family(address))
        ]

    async def close(self) -> None:
        """Nothing is held."""


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    """The socket for one address to connect to; the last word on it, and the only one on literals."""
    family, kind, protocol, _, (address, *_) = info
    refuse_private_among(address, [address])
    return socket.socket(family, kind, protocol)


def refuse_private_among(host: str, addresses: list[str]) -> None:
    """Raise PrivateAddress where any address of a host is no public one."""
    for address in addresses:
        if not is_public(address):
            raise PrivateAddress(host, address)


async def addresses_of(host: str, port: int) -> list[str]:
    """The addresses that the system knows for a host, each once, IPv6 with its zone. Raises OSError where it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as fault:
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is no name of a host") from fault
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def mended(fault: Exception, request: httpx.Request) -> httpx.TransportError:
    """The exception that httpx's own transport would have raised, by the cause underneath."""
    cause = fault.__cause__ if isinstance(fault, httpx.TransportError) and fault.__cause__ else fault
    text = str(cause) or type(cause).__name__
    for kind, mend in _MENDED:
        if isinstance(cause, kind):
            return mend(text, request=request)
    return type(fault)(text) if isinstance(fault, httpx.TransportError) else httpx.TransportError(text)
