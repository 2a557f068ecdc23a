"""Fetching feeds from servers that may do anything, and understanding what they sent, over real HTTP."""

import asyncio
import dataclasses
import json
import os
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from lowtide.api.private_urls import refuse_private
from lowtide.feeds.fetch import FeedFailed, fetch, retry_after_s
from lowtide.feeds.formats import Context
from lowtide.feeds.formats import understand as formats_understand
from lowtide.feeds.listing import Reading
from lowtide.feeds.model_names import ModelNames
from lowtide.feeds.understand import IN_PLACE_BYTES, understand_apart
from lowtide.simulate.feed_faults import ENDLESS_BYTES, FeedFault
from lowtide.simulate.feed_server import FeedServer, feed_server
from lowtide.simulate.replies import Receive, Send
from lowtide.simulate.server import UpstreamThread, serving
from lowtide.values.addresses import PrivateAddress
from lowtide.values.errors import BadValue, InvalidRequest
from lowtide.wire.transport import Transport

PRICES = json.dumps({"data": [{"id": f"m{n}", "price": n} for n in range(100)]}).encode()
PATH = "/prices.json"
LARGE = b" " * (IN_PLACE_BYTES + 1)


class Stage:
    """One served address for all tests here, each with a simulator of its own behind it: ending a server takes 0.2 s."""

    feed: FeedServer

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await self.feed(scope, receive, send)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, str]]:
    stage = Stage()
    with UpstreamThread(stage) as base:
        yield stage, base


@pytest.fixture
def feed(stage) -> FeedServer:
    stage[0].feed = FeedServer()
    stage[0].feed.set_document(PATH, PRICES)
    return stage[0].feed


@pytest.fixture
def base(stage, feed) -> str:
    return stage[1]


@pytest.fixture
def url(base) -> str:
    return base + PATH


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=Transport()) as client:
        yield client


async def failing(client: httpx.AsyncClient, url: str, **options) -> FeedFailed:
    with pytest.raises(FeedFailed) as raised:
        await fetch(client, url, **options)
    assert raised.value.status == 422
    assert raised.value.detail
    return raised.value


async def test_a_document_comes_with_what_names_its_version(client, feed, url):
    got = await fetch(client, url)
    assert (got.status, got.body, got.url) == ("fresh", PRICES, url)
    assert got.etag
    assert got.last_modified
    assert got.took_ms >= 0
    assert feed.seen(PATH).headers["accept-encoding"] == "gzip"
    assert feed.seen(PATH).sent_bytes < len(PRICES)


async def test_an_unchanged_document_is_not_sent_again(client, feed, url):
    first = await fetch(client, url)
    by_tag = await fetch(client, url, etag=first.etag)
    by_date = await fetch(client, url, last_modified=first.last_modified)
    assert (by_tag.status, by_tag.body) == (by_date.status, by_date.body) == ("not_modified", b"")
    assert (by_tag.etag, by_tag.last_modified) == (first.etag, first.last_modified)
    assert (feed.seen(PATH).requests, feed.seen(PATH).not_modified) == (3, 2)


async def test_a_document_that_changed_is_fresh_by_tag_and_by_date(client, feed, url):
    first = await fetch(client, url)
    feed.set_document(PATH, b'{"data": []}')
    by_tag = await fetch(client, url, etag=first.etag, last_modified=first.last_modified)
    by_date = await fetch(client, url, last_modified=first.last_modified)
    assert by_tag.body == by_date.body == b'{"data": []}'
    assert by_tag.etag != first.etag


async def test_not_modified_without_having_asked_is_a_failure(client, feed, url):
    feed.fail(PATH, FeedFault("status", status=304))
    assert (await failing(client, url)).http_status == 304


async def test_a_document_of_another_content_type_is_taken_as_it_is(client, feed, url):
    feed.fail(PATH, FeedFault("wrong_type"))
    assert (await fetch(client, url)).body == PRICES


async def test_garbage_is_fetched_and_left_to_the_reader(client, feed, url):
    feed.fail(PATH, FeedFault("garbage"))
    assert b"not a price list" in (await fetch(client, url)).body


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (FeedFault("status", status=500), "feed_http_status"),
        (FeedFault("hang"), "feed_timeout"),
        (FeedFault("drip", interval_s=0.02), "feed_timeout"),
        (FeedFault("cut"), "feed_unreachable"),
        (FeedFault("empty"), "feed_empty"),
        (FeedFault("status", status=204), "feed_empty"),
        (FeedFault("circle"), "feed_redirects"),
        (FeedFault("chain"), "feed_redirects"),
        (FeedFault("redirect", location="ftp://files.example/prices"), "feed_redirects"),
        (FeedFault("redirect", location="file:///etc/passwd"), "feed_redirects"),
        (FeedFault("redirect", location=""), "feed_redirects"),
        (FeedFault("redirect", location="http://h:99999999/"), "feed_redirects"),
        (FeedFault("endless"), "feed_too_large"),
        (FeedFault("gzip_bomb"), "feed_too_large"),
        (FeedFault("half_gzip"), "feed_encoding"),
        (FeedFault("wrong_encoding"), "feed_encoding"),
    ],
    ids=lambda value: (
        f"{value.kind}-{value.status}-{value.location}" if isinstance(value, FeedFault) else value
    ),
)
async def test_each_fault_has_its_code_and_a_bounded_time(client, feed, url, fault, code):
    feed.fail(PATH, dataclasses.replace(fault))
    began = time.monotonic()
    failed = await failing(client, url, timeout_s=0.2 if code == "feed_timeout" else 10, max_bytes=300_000)
    assert failed.code == code
    assert time.monotonic() - began < 5
    feed.heal(PATH)
    assert (await fetch(client, url)).body == PRICES


@pytest.mark.parametrize("kind", ["endless", "gzip_bomb"])
async def test_a_gigabyte_stops_at_the_limit_in_time_and_memory(client, feed, url, kind):
    feed.fail(PATH, FeedFault(kind))
    most = 4 * 1024**2
    tracemalloc.start()
    try:
        failed = await failing(client, url, max_bytes=most, timeout_s=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed.code == "feed_too_large"
    # The simulator shares the process, and its connection holds some too.
    assert peak < most * 2
    assert feed.seen(PATH).sent_bytes < ENDLESS_BYTES // 50


async def test_a_body_declared_too_large_is_not_read_at_all(client, feed, url):
    feed.set_document(PATH, os.urandom(100_000))
    assert (await failing(client, url, max_bytes=50_000)).code == "feed_too_large"


async def test_a_client_that_stops_closes_its_connection(client, feed, url):
    feed.fail(PATH, FeedFault("hang"))
    await failing(client, url, timeout_s=0.1)
    ends = time.monotonic() + 2
    while not feed.seen(PATH).disconnected:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


async def test_a_limit_is_on_the_unpacked_document(client, feed, url):
    feed.set_document(PATH, b"[" + b" " * 100_000 + b"]")
    assert (await failing(client, url, max_bytes=100_001)).code == "feed_too_large"
    assert len((await fetch(client, url, max_bytes=100_002)).body) == 100_002


async def test_the_event_loop_goes_on_while_a_bomb_is_unpacked(client, feed, url):
    feed.fail(PATH, FeedFault("gzip_bomb"))
    fetching = asyncio.create_task(failing(client, url, max_bytes=8 * 1024**2))
    turns = 0
    while not fetching.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await fetching).code == "feed_too_large"
    # Some 16 kB of the bomb arrive at once, which are 16 MB; a step is 64 kB.
    assert turns > 100


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [("7", 7), ("0", 0), (None, None), ("soon", None), ("-5", None), ("9" * 5_000, 9_999_999_999)],
)
async def test_a_server_that_is_asked_too_often_says_how_long_to_wait(client, feed, url, wish, seconds):
    feed.fail(PATH, FeedFault("status", status=429, retry_after=wish))
    failed = await failing(client, url)
    assert (failed.code, failed.http_status, failed.retry_after_s) == ("feed_http_status", 429, seconds)


def test_a_wait_until_a_date_counts_from_the_servers_own_clock():
    headers = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:30:00 GMT"}
    assert retry_after_s(httpx.Headers(headers)) == 120
    headers["retry-after"] = "Wed, 21 Oct 2015 07:00:00 GMT"
    assert retry_after_s(httpx.Headers(headers)) == 0
    assert retry_after_s(httpx.Headers({"retry-after": "Fri, 01 Jan 2999 00:00:00 GMT"})) > 10**9


async def test_redirects_are_followed_and_the_last_url_is_told(client, feed, url):
    feed.set_document("/new.json", b"[1]")
    feed.fail(PATH, FeedFault("redirect", location="new.json#part"))
    got = await fetch(client, url)
    assert (got.body, got.url) == (b"[1]", url.replace("prices", "new"))


async def test_a_chain_ends_at_the_limit(client, feed, url):
    feed.fail(PATH, FeedFault("chain"))
    await failing(client, url, max_redirects=3)
    assert feed.seen(PATH).requests == 4


async def test_a_circle_is_named(client, feed, url):
    feed.fail(PATH, FeedFault("circle"))
    assert f"{url} → {url} → {url}" in (await failing(client, url)).detail


async def test_https_is_never_given_up(feed):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(301, headers={"location": "http://feed.example/prices"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        failed = await failing(client, "https://feed.example/prices")
    assert failed.code == "feed_redirects"
    assert "https down to http://feed.example/prices" in failed.detail


async def test_credentials_stay_with_their_server(client, feed, base):
    async with feed_server() as (other, other_base):
        other.set_document("/there", b"[1]")
        feed.fail(PATH, FeedFault("redirect", location=f"{other_base}/there"))
        client.headers["authorization"] = "Bearer of the client"
        got = await fetch(client, base + PATH, headers={"x-api-key": "secret"})
        seen, taken = feed.seen(PATH).headers, other.seen("/there").headers
        assert got.body == b"[1]"
        assert (seen["authorization"], seen["x-api-key"]) == ("Bearer of the client", "secret")
        assert "authorization" not in taken
        assert "x-api-key" not in taken
        await fetch(client, (base + PATH).replace("http://", "http://me:word@"))
        assert feed.seen(PATH).headers["authorization"].startswith("Basic ")
        assert "authorization" not in other.seen("/there").headers


async def test_credentials_are_not_sent_home_by_a_stranger(client, feed, base):
    feed.set_document("/room", b"[1]")
    feed.fail("/home", FeedFault("redirect", location="/room"))
    async with feed_server() as (other, other_base):
        feed.fail(PATH, FeedFault("redirect", location=f"{other_base}/there"))
        other.fail("/there", FeedFault("redirect", location=f"{base}/home"))
        await fetch(client, base + PATH, headers={"authorization": "Bearer secret"})
    assert "authorization" not in feed.seen("/home").headers
    assert "authorization" not in feed.seen("/room").headers


async def test_credentials_follow_a_redirect_within_their_server(client, feed, url):
    feed.set_document("/new.json", b"[1]")
    feed.fail(PATH, FeedFault("redirect", location="/new.json"))
    got = await fetch(client, url.replace("http://", "http://me:word@"))
    assert feed.seen("/new.json").headers["authorization"].startswith("Basic ")
    assert "word" not in got.url


async def test_no_credential_stands_in_an_error(client, feed, url):
    feed.fail(PATH, FeedFault("status"))
    failed = await failing(client, url.replace("http://", "http://me:word@") + "?key=hidden")
    assert "word" not in failed.detail
    assert "hidden" not in failed.detail


@pytest.mark.parametrize(
    "bad", ["ftp://h/x", "file:///etc/passwd", "prices", "http://", "http://h:99999/", "http://h:0/", "//h/x"]
)
async def test_only_http_urls_are_fetched(client, bad):
    assert (await failing(client, bad)).code == "bad_url"


@pytest.mark.parametrize("headers", [{"x-a": "b\r\nhost: c"}, {"x-a\n": "b"}, {"x-a": "ü€"}])
async def test_a_header_that_cannot_be_sent_is_refused(client, url, headers):
    assert (await failing(client, url, headers=headers)).code == "bad_header"


async def test_a_closed_port_is_unreachable(client):
    fault = await failing(client, "http://127.0.0.1:1/")
    assert fault.code == "feed_unreachable"
    assert fault.detail == "http://127.0.0.1:1/ cannot be fetched: nothing answers at 127.0.0.1:1."


async def test_a_name_that_cannot_be_resolved_is_called_so(client):
    fault = await failing(client, "http://nosuch.invalid/prices")
    assert fault.code == "feed_unreachable"
    assert "the host nosuch.invalid cannot be resolved. Check its name." in fault.detail


async def test_a_server_without_tls_is_called_so(client, base):
    fault = await failing(client, base.replace("http:", "https:"))
    assert "does not speak TLS as it should" in fault.detail


async def test_a_server_is_told_who_asks(client, feed, url):
    await fetch(client, url)
    assert feed.seen(PATH).headers["user-agent"] == f"lowtide/{version('lowtide')}"


async def test_a_feed_on_this_machine_is_private_where_only_public_ones_are_wanted(feed, url):
    async with httpx.AsyncClient(transport=Transport(public_only=True)) as client:
        assert (await failing(client, url)).code == "private_url"
    assert feed.seen(PATH).requests == 0


async def test_a_redirect_from_a_public_host_to_this_machine_is_refused(feed, url):
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    # The first host stands for a public one: its connections alone are let through to the simulator.
    public = {"all://feed.example": Transport(resolve=resolve)}
    inner = FeedServer()
    async with (
        serving(inner) as inside,
        httpx.AsyncClient(transport=Transport(public_only=True), mounts=public) as client,
    ):
        feed.fail("/start", FeedFault("redirect", location=f"{inside}/secret"))
        failed = await failing(client, url.replace("127.0.0.1", "feed.example").replace(PATH, "/start"))
    assert failed.code == "private_url"
    assert feed.seen("/start").requests == 1
    assert inner.seen("/secret").requests == 0


async def test_a_name_that_is_public_at_the_door_and_private_at_the_call_is_refused(feed, url):
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    rebinding = url.replace("127.0.0.1", "feed.example")
    await refuse_private(rebinding, "/url", allowed=False, resolve=resolve)
    async with httpx.AsyncClient(transport=Transport(public_only=True, resolve=resolve)) as client:
        failed = await failing(client, rebinding)
    assert failed.code == "private_url"
    assert "feed.example resolves to 127.0.0.1" in failed.detail
    assert isinstance(failed.__cause__, PrivateAddress)
    assert feed.seen(PATH).requests == 0


async def test_the_door_refuses_a_private_url():
    with pytest.raises(InvalidRequest) as raised:
        await refuse_private("http://[::ffff:127.0.0.1]/", "/url", allowed=False)
    assert raised.value.code == "private_url"
    assert "LOWTIDE_ALLOW_PRIVATE_URLS=true" in raised.value.detail
    assert "config/providers" not in raised.value.detail
    with pytest.raises(InvalidRequest, match="Describe local providers in config/providers/"):
        await refuse_private("http://127.0.0.1/v1", "/base_url", allowed=False)


async def test_a_name_that_is_none_is_not_blamed_on_a_setting():
    async def nobody(host: str, port: int) -> list[str]:
        raise OSError

    with pytest.raises(InvalidRequest) as raised:
        await refuse_private("https://acme.exmaple/prices", "/url", allowed=False, resolve=nobody)
    assert raised.value.detail == "The host acme.exmaple cannot be resolved. Check its name."


# Understanding apart: the functions stand here, because a process is told them by name.


def counted(document: bytes, format: str | None, context: int) -> Reading:
    print("what a parser says")
    return Reading(format or "guessed", (), entries=len(document) + context)


def refusing(document: bytes, format: str | None, context: object) -> Reading:
    raise BadValue("unknown_format", "No format fits.")


def breaking(document: bytes, format: str | None, context: object) -> Reading:
    raise KeyError("prices")


def dying(document: bytes, format: str | None, context: object) -> Reading:
    os._exit(9)


def slow(document: bytes, format: str | None, context: object) -> Reading:
    while True:
        pass


def greedy(document: bytes, format: str | None, context: object) -> Reading:
    return Reading("x", (), entries=len(bytearray(8 * 1024**3)))


def whose(document: bytes, format: str | None, context: object) -> Reading:
    return Reading("x", (), entries=os.getpid())


async def test_a_small_document_is_understood_in_place_and_a_large_one_in_another_process():
    small = await understand_apart(b"[]", None, None, call=whose)
    large = await understand_apart(LARGE, None, None, call=whose)
    assert small.entries == os.getpid()
    assert large.entries != os.getpid()


async def test_a_large_document_arrives_whole_and_what_a_parser_prints_is_no_answer():
    found = await understand_apart(LARGE, "openrouter", 5, call=counted)
    assert found == Reading("openrouter", (), entries=len(LARGE) + 5)


@pytest.mark.parametrize("document", [b"[]", LARGE], ids=["small", "large"])
async def test_what_the_reader_refuses_is_refused_alike_in_both_places(document):
    with pytest.raises(BadValue) as raised:
        await understand_apart(document, None, None, call=refusing)
    assert (raised.value.code, raised.value.detail, str(raised.value)) == (
        "unknown_format",
        "No format fits.",
        "No format fits.",
    )


@pytest.mark.parametrize("document", [b"[]", LARGE], ids=["small", "large"])
async def test_a_reader_that_breaks_is_a_failed_feed(document):
    with pytest.raises(FeedFailed, match="KeyError") as raised:
        await understand_apart(document, None, None, call=breaking)
    assert raised.value.code == "feed_unreadable"


@pytest.mark.parametrize("call", [dying, greedy])
async def test_a_reader_that_dies_or_takes_all_memory_is_a_failed_feed(call):
    with pytest.raises(FeedFailed) as raised:
        await understand_apart(LARGE, None, None, call=call)
    assert raised.value.code == "feed_unreadable"


async def test_a_reader_that_dies_before_it_has_read_all_is_a_failed_feed():
    with pytest.raises(FeedFailed) as raised:
        await understand_apart(b" " * 8 * 1024**2, None, _Unloadable(), call=counted)
    assert raised.value.code == "feed_unreadable"


class _Unloadable:
    def __reduce__(self):
        return (os._exit, (3,))


async def test_a_reader_that_does_not_end_is_killed_while_the_loop_goes_on():
    began = time.monotonic()
    reading = asyncio.create_task(understand_apart(LARGE, None, None, call=slow, deadline_s=0.4))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.005)
        turns += 1
    with pytest.raises(FeedFailed) as raised:
        await reading
    assert raised.value.code == "feed_timeout"
    assert turns > 10
    assert time.monotonic() - began < 5


async def test_a_known_format_is_understood_the_same_in_both_places():
    context = Context("acme", 0, 10**9, ModelNames())
    models = [
        {"id": f"vendor/m{n}", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
        for n in range(900)
    ]
    document = json.dumps({"data": models}).encode()
    assert len(document) > IN_PLACE_BYTES
    expected = formats_understand(document, None, context)
    assert len(expected.listings) == 900
    assert await understand_apart(document, None, context) == expected
