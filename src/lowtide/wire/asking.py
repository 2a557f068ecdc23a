"""One request and its answer: bounded in time and in bytes, every fault sorted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from lowtide.wire.call import CallFailed, FailureKind
from lowtide.wire.failures import failure, kind_of_exception

MAX_ANSWER_BYTES = 16 * 1024 * 1024


def elapsed_ms(began: float) -> int:
    """Milliseconds of real time since `began` (monotonic seconds)."""
    return round((time.monotonic() - began) * 1_000)


def failed(kind: FailureKind, detail: str, began: float) -> CallFailed:
    """A sorted failure, with how long it took."""
    return CallFailed(failure(kind, detail, elapsed_ms(began)))


def authorization(api_key: str | None, began: float) -> dict[str, str]:
    """The bearer header of a key. Raises CallFailed where no header can carry it."""
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        detail = "The credential has characters that a header cannot carry. Set it anew."
        raise failed(FailureKind.REFUSED_CREDENTIAL, detail, began)
    return {"authorization": f"Bearer {api_key}"}


@asynccontextmanager
async def opened(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, timeout_s: float, began: float
) -> AsyncIterator[httpx.Response]:
    """The answer, its body not read yet, until the block ends. Raises CallFailed for what goes wrong until then."""
    try:
        async with asyncio.timeout(timeout_s):
            response = await transport.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
    except TimeoutError:
        raise failed(FailureKind.ANSWER_TIMEOUT, f"No answer within {timeout_s:.1f} s.", began) from None
    except httpx.PoolTimeout as fault:
        # Our own pool is full: no mark against the provider.
        full = failure(FailureKind.CONNECT_TIMEOUT, str(fault), elapsed_ms(began))
        raise CallFailed(replace(full, provider_fault=False)) from fault
    except httpx.HTTPError as fault:
        raise failed(kind_of_exception(fault), str(fault) or type(fault).__name__, began) from fault


async def asked(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    timeout_s: float,
    began: float,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> tuple[int, httpx.Headers, bytes]:
    """Status, headers and body of the answer. Raises CallFailed."""
    async with opened(transport, request, timeout_s, began) as response:
        chunks, size = [], 0
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise failed(FailureKind.MALFORMED, f"The answer is over {max_bytes} bytes.", began)
        return response.status_code, response.headers, b"".join(chunks)
