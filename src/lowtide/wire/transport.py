"""The one way out: httpx on aiohttp's connections, with the errors told apart.

httpx-aiohttp gives a refused connection, a failed name lookup, a drop after the request was sent and a full pool all as
ConnectTimeout. They differ in what matters: a dropped POST may have been billed, a refused one not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MAX_CONNECTIONS = 1_000
KEEP_ALIVE_S = 30.0

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
)


class Transport(httpx.AsyncBaseTransport):
    """Keep-alive connections for all that goes out: wires call it directly, feeds through `httpx.AsyncClient`."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        # The places are counted here, because aiohttp tells a full pool and a slow connection by the same exception.
        self._places = asyncio.Semaphore(max_connections)
        self._inner = AiohttpTransport()
        self._inner.client = self._session

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=self._inner.ssl_context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body is read through the response's stream. Raises httpx's transport errors."""
        asked = request.extensions
        limits = asked.get("timeout", {})
        await self._take_place(limits.get("pool"), request)
        try:
            # What aiohttp is told as "pool" bounds name lookup, connection and TLS together.
            request.extensions = {**asked, "timeout": {**limits, "pool": limits.get("connect")}}
            response = await self._inner.handle_async_request(request)
        except BaseException as fault:
            self._places.release()
            if isinstance(fault, (httpx.TransportError, aiohttp.ClientError)):
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


def mended(fault: Exception, request: httpx.Request) -> httpx.TransportError:
    """The exception that httpx's own transport would have raised, by the cause underneath."""
    cause = fault.__cause__ if isinstance(fault, httpx.TransportError) and fault.__cause__ else fault
    text = str(cause) or type(cause).__name__
    for kind, mend in _MENDED:
        if isinstance(cause, kind):
            return mend(text, request=request)
    return type(fault)(text) if isinstance(fault, httpx.TransportError) else httpx.TransportError(text)
