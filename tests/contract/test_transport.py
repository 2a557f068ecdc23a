"""The transport over real HTTP: httpx's own errors, and its places."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import httpx
import pytest

from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.wire.transport import Transport, mended

REQUEST = httpx.Request("POST", "http://127.0.0.1/")
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def upstreams() -> Upstreams:
    return Upstreams(output_tokens=lambda body: 40)


@pytest.fixture
async def base(upstreams) -> AsyncIterator[str]:
    async with serving(upstreams) as url:
        yield f"{url}/acme/v1"


async def test_an_httpx_client_on_it_streams(base):
    async with httpx.AsyncClient(transport=Transport()) as client:
        asked = ASK | {"stream": True}
        async with client.stream("POST", f"{base}/chat/completions", json=asked) as response:
            lines = [line async for line in response.aiter_lines() if line]
    assert response.status_code == 200
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3


async def test_a_name_that_does_not_resolve_is_a_connect_error():
    async with httpx.AsyncClient(transport=Transport()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://nowhere.invalid/")


async def test_a_cut_body_is_a_read_error(base, upstreams):
    upstreams.fail("acme", Fault("cut"))
    async with httpx.AsyncClient(transport=Transport()) as client:
        with pytest.raises(httpx.ReadError):
            await client.post(f"{base}/chat/completions", json=ASK)


async def test_an_answer_that_is_no_http_is_a_protocol_error():
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"who is there?\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, httpx.AsyncClient(transport=Transport()) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_full_pool_is_a_pool_timeout_and_the_next_call_gets_the_place(base, upstreams):
    upstreams.fail("acme", Fault("hang", times=1))
    timeout = httpx.Timeout(10, pool=0.05)
    async with httpx.AsyncClient(transport=Transport(max_connections=1), timeout=timeout) as client:
        first = asyncio.create_task(client.post(f"{base}/chat/completions", json=ASK))
        while upstreams.seen("acme").calls == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        with pytest.raises(httpx.PoolTimeout):
            await client.get(f"{base}/models")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        for _ in range(3):
            assert (await client.get(f"{base}/models")).status_code == 200


async def test_a_failed_call_gives_its_place_back(base):
    async with httpx.AsyncClient(transport=Transport(max_connections=1)) as client:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:1/")
        assert (await client.get(f"{base}/models")).status_code == 200


async def test_no_cookie_of_one_answer_goes_out_with_the_next_request():
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: who=you\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    transport = Transport()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        for _ in range(2):
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            response = await transport.handle_async_request(httpx.Request("GET", url))
            await response.aread()
        await transport.aclose()
    assert len(heads) == 2
    assert b"who=you" not in heads[1]


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (aiohttp.ConnectionTimeoutError(), httpx.ConnectTimeout),
        (aiohttp.SocketTimeoutError(), httpx.ReadTimeout),
        (aiohttp.ServerDisconnectedError(), httpx.RemoteProtocolError),
        (aiohttp.ClientPayloadError(), httpx.ReadError),
        (aiohttp.ClientConnectionResetError(), httpx.ReadError),
        (aiohttp.ClientOSError(104, "reset"), httpx.ReadError),
    ],
)
def test_the_cause_underneath_decides_the_error(cause, kind):
    fault = httpx.ConnectTimeout("Connection timeout")
    fault.__cause__ = cause
    assert type(mended(fault, REQUEST)) is kind
    assert str(mended(fault, REQUEST))


def test_an_error_without_a_cause_stays_what_it_is():
    assert type(mended(httpx.ReadTimeout("slow"), REQUEST)) is httpx.ReadTimeout
