"""The one way out: httpx on aiohttp's connections, with the errors told apart.

httpx-aiohttp gives a refused connection, a failed name lookup, a drop after the request was sent and a full pool all as
ConnectTimeout. They differ in what matters: a dropped POST may have been billed, a refused one not.
"""

from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MAX_CONNECTIONS = 1_000
KEEP_ALIVE_S = 30.0


class Transport(httpx.AsyncBaseTransport):
    """Keep-alive connections for all that goes out: wires call it directly, feeds through `httpx.AsyncClient`."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_S)
        self._inner = AiohttpTransport(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body is read through the response's stream. Raises httpx's transport errors."""
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as fault:
            raise mended(fault, request) from fault
        response.stream = _Stream(cast("httpx.AsyncByteStream", response.stream), request)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, request: httpx.Request) -> None:
        self._inner, self._request = inner, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except httpx.TransportError as fault:
            raise mended(fault, self._request) from fault

    async def aclose(self) -> None:
        await self._inner.aclose()


def mended(fault: httpx.TransportError, request: httpx.Request) -> httpx.TransportError:
    """The exception that httpx's own transport would have raised, by the cause underneath."""
    cause = fault.__cause__
    text = str(cause or fault) or type(cause or fault).__name__
    kinds: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
        (aiohttp.ClientConnectorError, httpx.ConnectError),
        (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
        (aiohttp.SocketTimeoutError, httpx.ReadTimeout),
        (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
        (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
        (aiohttp.ClientPayloadError, httpx.ReadError),
        (aiohttp.ClientOSError, httpx.ReadError),
        (aiohttp.ClientConnectionError, httpx.ReadError),
        (TimeoutError, httpx.PoolTimeout),
    )
    for kind, mend in kinds:
        if isinstance(cause, kind):
            return mend(text, request=request)
    return fault
