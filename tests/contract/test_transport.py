"""The transport over real HTTP: httpx's own errors, its places, and the addresses that it may reach."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import httpx
import pytest

from lowtide.simulate.faults import Fault
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.values.addresses import PrivateAddress
from lowtide.wire.transport import RefusedAddress, Transport, addresses_of, mended

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


class Door:
    """A server on this machine that counts who came in."""

    def __init__(self) -> None:
        self.port, self.visits = 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """It hears every address of the machine, IPv6 too where there is any."""
    host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    door = Door()
    with socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, dualstack_ipv6=":" in host
    ) as listener:
        door.port = listener.getsockname()[1]
        async with await asyncio.start_server(door.serve, sock=listener):
            yield door


LITERALS = ["127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127。0。0。1"]
RESOLVED = ["localhost", "0x7f000001", "0x7f.1", "LOCALHOST"]
UNKNOWN = ["127.1", "2130706433", "017700000001", "127.0.0.1.", "0", "0177.0.0.1", "[fe80::1%25lo]"]


@pytest.mark.parametrize("host", LITERALS + RESOLVED)
async def test_no_spelling_of_this_machine_is_connected_to_where_only_public_addresses_are(door, host):
    async with httpx.AsyncClient(transport=Transport(public_only=True)) as client:
        with pytest.raises(RefusedAddress) as raised:
            await client.get(f"http://{host}:{door.port}/")
    assert isinstance(raised.value, httpx.ConnectError)
    assert isinstance(raised.value, PrivateAddress)
    assert raised.value.address in str(raised.value)
    assert raised.value.request.url.port == door.port
    assert door.visits == 0


@pytest.mark.parametrize("host", UNKNOWN)
@pytest.mark.parametrize("public_only", [True, False])
async def test_spellings_that_are_no_url_reach_nothing(door, host, public_only):
    async with httpx.AsyncClient(transport=Transport(public_only=public_only)) as client:
        with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.ConnectError)):
            await client.get(f"http://{host}:{door.port}/")
    assert door.visits == 0


async def test_this_machine_is_reached_where_any_address_may_be(door):
    async with httpx.AsyncClient(transport=Transport()) as client:
        assert (await client.get(f"http://127.0.0.1:{door.port}/")).status_code == 200
        assert (await client.get(f"http://localhost:{door.port}/")).status_code == 200
    assert door.visits == 2


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"], ["2606:4700::1111", "fd00::1"], ["fe80::1%lo"]],
)
async def test_a_name_with_any_private_address_is_refused_before_any_connection(door, addresses):
    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    async with httpx.AsyncClient(transport=Transport(public_only=True, resolve=resolve)) as client:
        with pytest.raises(RefusedAddress) as raised:
            await client.get(f"http://feed.example:{door.port}/")
    assert (raised.value.host, raised.value.address) == ("feed.example", addresses[-1])
    # By the look-up, not by a socket, which knows no name.
    assert isinstance(raised.value.__cause__, PrivateAddress)
    assert raised.value.__cause__.host == "feed.example"
    assert door.visits == 0


async def test_a_refused_connection_gives_its_place_back(door):
    async with httpx.AsyncClient(transport=Transport(max_connections=1, public_only=True)) as client:
        for _ in range(3):
            with pytest.raises(RefusedAddress):
                await client.get(f"http://127.0.0.1:{door.port}/")


async def test_an_injected_resolver_decides_where_a_name_leads(door):
    heard: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        heard.append(f"{host}:{port}")
        return ["127.0.0.1"]

    async with httpx.AsyncClient(transport=Transport(resolve=resolve)) as client:
        assert (await client.get(f"http://feed.example:{door.port}/")).status_code == 200
    assert heard == [f"feed.example:{door.port}"]


@pytest.mark.parametrize("public_only", [True, False])
@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_host_that_can_be_no_name_is_an_error_of_httpx(host, public_only):
    async with httpx.AsyncClient(transport=Transport(public_only=public_only)) as client:
        with pytest.raises((httpx.UnsupportedProtocol, httpx.ConnectError)):
            await client.get(f"http://{host}/")


async def test_a_name_without_an_address_is_an_os_error():
    with pytest.raises(OSError):
        await addresses_of("a..b", 80)
    assert await addresses_of("127.0.0.1", 80) == ["127.0.0.1"]
