"""Fetching a feed's document from a server that is not trusted: bounded in time, in bytes and in where it leads."""

import asyncio
import io
import math
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx

from lowtide.feeds.fetch_words import size, unreachable, user_agent
from lowtide.values.addresses import PrivateAddress
from lowtide.values.errors import MarketError

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
_STEP_BYTES = 64 * 1024
_FRESH = (200, 203, 204)
_REDIRECTS = (301, 302, 303, 307, 308)
_SECRETS = ("authorization", "proxy-authorization", "cookie")
_ANY_ZLIB = zlib.MAX_WBITS | 32  # gzip's or zlib's header, whichever is there


class FeedFailed(MarketError):
    """A feed that gave no document. `code` says why, `http_status` what a server answered, `retry_after_s` its wish.

    Codes: `bad_url`, `private_url`, `feed_unreachable` (no connection, or one that broke), `feed_timeout`,
    `feed_redirects`, `feed_http_status`, `feed_too_large`, `feed_encoding`, `feed_empty`, `feed_unreadable`.
    """

    code = "feed_failed"
    status = 422

    def __init__(
        self, code: str, detail: str, *, http_status: int | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail, code=code, retry_after_s=retry_after_s)
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, or word that it is the one that the caller has. `url` is where it was found, without credentials.

    `etag` and `last_modified` are for the next fetch: as answered, or those that were sent where nothing is said anew.
    """

    status: Literal["fresh", "not_modified"]
    body: bytes
    etag: str | None
    last_modified: str | None
    url: str
    took_ms: int


@dataclass(frozen=True, slots=True)
class _Ask:
    etag: str | None
    last_modified: str | None
    headers: Mapping[str, str]
    max_bytes: int
    max_redirects: int


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    *,
    etag: str | None = None,
    last_modified: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20.0,
    max_bytes: int = MAX_DOCUMENT_BYTES,
    max_redirects: int = 5,
) -> Fetched:
    """GET a document; if the server says that it is still the one of `etag` or `last_modified`, an empty body.

    `timeout_s` bounds everything together, redirects and the last byte included; `max_bytes` the body as sent and as
    unpacked. `headers` (and the client's credentials) go to the URL's own server only, not to where it redirects.
    Whether private addresses are reached is the client's transport's decision. Raises FeedFailed.
    """
    began = time.monotonic()
    ask = _Ask(etag, last_modified, headers or {}, max_bytes, max_redirects)
    try:
        async with asyncio.timeout(timeout_s):
            response, body = await _follow(client, url, ask, timeout_s)
    except PrivateAddress as fault:
        raise FeedFailed(
            "private_url", f"{fault} Set LOWTIDE_ALLOW_PRIVATE_URLS=true to fetch feeds from there."
        ) from fault
    except (TimeoutError, httpx.TimeoutException) as fault:
        raise FeedFailed(
            "feed_timeout", f"{_shown(url)} did not give its document within {timeout_s:g} s."
        ) from fault
    except httpx.UnsupportedProtocol as fault:
        raise FeedFailed("bad_url", f"{_shown(url)} cannot be called: {fault}.") from fault
    except httpx.RequestError as fault:
        raise FeedFailed(
            "feed_unreachable", f"{_shown(url)} cannot be fetched: {unreachable(fault)}."
        ) from fault
    return Fetched(
        status="not_modified" if response.status_code == 304 else "fresh",
        body=body,
        etag=_validator(response, "etag", etag),
        last_modified=_validator(response, "last-modified", last_modified),
        url=str(response.request.url),
        took_ms=round((time.monotonic() - began) * 1_000),
    )


async def _follow(
    client: httpx.AsyncClient, url: str, ask: _Ask, timeout_s: float
) -> tuple[httpx.Response, bytes]:
    """The first answer that is no redirect, closed, and its body."""
    given, trusted = _parsed(url), True
    own = httpx.BasicAuth(given.username, given.password) if given.userinfo else httpx.USE_CLIENT_DEFAULT
    trail = [_bare(given)]
    while True:
        request = _request(client, trail[-1], ask, timeout_s, trusted=trusted)
        auth = own if trusted else None
        response = await client.send(request, stream=True, follow_redirects=False, auth=auth)
        try:
            if response.status_code not in _REDIRECTS:
                return response, await _body(response, ask)
            trail.append(_next(response, trail, ask.max_redirects))
        finally:
            await response.aclose()
        # Once away it stays so: a stranger's redirect back could choose what our credentials open.
        trusted = trusted and _same_server(*trail[-2:])


def _request(
    client: httpx.AsyncClient, url: httpx.URL, ask: _Ask, timeout_s: float, *, trusted: bool
) -> httpx.Request:
    headers = httpx.Headers({"accept": "application/json, */*;q=0.5", "user-agent": user_agent()})
    try:
        headers.update(ask.headers if trusted else {})
        headers["accept-encoding"] = "gzip"
        if ask.etag is not None:
            headers["if-none-match"] = ask.etag
        if ask.last_modified is not None:
            headers["if-modified-since"] = ask.last_modified
        broken = [name for name, value in headers.items() if any(mark in name + value for mark in "\r\n\0")]
    except UnicodeError as fault:
        raise FeedFailed("bad_header", "A header has text beyond ASCII. Send ASCII.") from fault
    if broken:
        raise FeedFailed("bad_header", f"The header {broken[0]!r} has a line break. Send it on one line.")
    request = client.build_request("GET", url, headers=headers, timeout=timeout_s)
    for secret in () if trusted else _SECRETS:
        request.headers.pop(secret, None)
    return request


def _next(response: httpx.Response, trail: list[httpx.URL], max_redirects: int) -> httpx.URL:
    """Where a redirect leads. Raises FeedFailed (`feed_redirects`)."""
    here, location = trail[-1], response.headers.get("location")
    if not location:
        raise _astray(f"{_shown(here)} redirects without saying where to.")
    try:
        there = _bare(here.join(location))
    except httpx.InvalidURL as fault:
        raise _astray(f"{_shown(here)} redirects to {location[:200]!r}, which is no URL.") from fault
    if not _on_the_web(there):
        raise _astray(f"{_shown(here)} redirects to {location[:200]!r}, which is no address on the web.")
    if here.scheme == "https" and there.scheme == "http":
        raise _astray(f"{_shown(here)} redirects from https down to {_shown(there)}.")
    if there in trail:
        circle = " → ".join(_shown(url) for url in [*trail[trail.index(there) :], there])
        raise _astray(f"The feed redirects in a circle: {circle}.")
    if len(trail) > max_redirects:
        raise _astray(f"{_shown(trail[0])} redirects more than {max_redirects} times.")
    return there


def _astray(detail: str) -> FeedFailed:
    return FeedFailed("feed_redirects", f"{detail} Give the URL at which the document itself is.")


async def _body(response: httpx.Response, ask: _Ask) -> bytes:
    """The document. Raises FeedFailed, by status, size, encoding and emptiness."""
    where, status = _shown(response.request.url), response.status_code
    if status == 304 and (ask.etag, ask.last_modified) != (None, None):
        return b""
    if status not in _FRESH:
        wait_s = retry_after_s(response.headers)
        said = "" if wait_s is None else f" and asks to wait {wait_s} s"
        detail = f"{where} answers {status} {response.reason_phrase}".rstrip() + f"{said}."
        raise FeedFailed("feed_http_status", detail, http_status=status, retry_after_s=wait_s)
    whole, too_large = io.BytesIO(), f"{where} is larger than {size(ask.max_bytes)}."
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > ask.max_bytes):
        raise FeedFailed("feed_too_large", too_large)
    async with aclosing(_decoded(response, ask.max_bytes)) as pieces:
        async for piece in pieces:
            if whole.tell() + len(piece) > ask.max_bytes:
                raise FeedFailed("feed_too_large", too_large)
            whole.write(piece)
    body = whole.getvalue()
    if not body or body.isspace():
        raise FeedFailed("feed_empty", f"{where} answers {status} with an empty document.")
    return body


async def _decoded(response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body unpacked in steps: httpx's own decoders make 16 MB of one chunk of a bomb at once."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in response.aiter_raw():
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _garbled(response, f"is packed with {encoding[:60]!r}, though gzip was asked for")
    packed, raw_bytes = zlib.decompressobj(_ANY_ZLIB), 0
    async for chunk in response.aiter_raw():
        raw_bytes += len(chunk)
        if raw_bytes > max_bytes:
            raise FeedFailed(
                "feed_too_large", f"{_shown(response.request.url)} sends more than {size(max_bytes)}."
            )
        while chunk:
            if packed.eof:  # gzip files may follow one another
                packed = zlib.decompressobj(_ANY_ZLIB)
            try:
                yield packed.decompress(chunk, _STEP_BYTES)
            except zlib.error as fault:
                raise _garbled(response, f"is no {encoding}: {fault}") from fault
            chunk = packed.unused_data or packed.unconsumed_tail
            await asyncio.sleep(0)
    if not packed.eof:
        raise _garbled(response, f"ends in the middle of its {encoding} data")


def _garbled(response: httpx.Response, how: str) -> FeedFailed:
    return FeedFailed("feed_encoding", f"{_shown(response.request.url)} {how}.")


def retry_after_s(headers: httpx.Headers) -> int | None:
    """Whole seconds that Retry-After asks to wait, given in seconds or as an HTTP date; None without a readable one.

    A date is counted from the answer's own Date, so that the server's clock need not agree with ours.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return int(text[:10])
    moment, now = _http_date(text), _http_date(headers.get("date", "")) or datetime.now(UTC)
    return None if moment is None else max(0, math.ceil((moment - now).total_seconds()))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _validator(response: httpx.Response, name: str, sent: str | None) -> str | None:
    """An answer's validator, if it can be sent back as it is."""
    given: str | None = response.headers.get(name)
    if given is None:
        return sent if response.status_code == 304 else None
    return given if given.isascii() and given.isprintable() else None


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as fault:
        raise FeedFailed("bad_url", f"{url[:200]!r} is no URL: {fault}") from fault
    if not _on_the_web(parsed):
        raise FeedFailed("bad_url", f"{url[:200]!r} is no http or https URL.")
    return parsed


def _on_the_web(url: httpx.URL) -> bool:
    callable_port = url.port is None or 0 < url.port < 65_536
    return url.scheme in ("http", "https") and bool(url.host) and callable_port


def _same_server(one: httpx.URL, other: httpx.URL) -> bool:
    if one.host != other.host:
        return False
    raised = (one.scheme, one.port, other.scheme, other.port) == ("http", None, "https", None)
    return raised or (one.scheme, one.port) == (other.scheme, other.port)


def _bare(url: httpx.URL) -> httpx.URL:
    """Without credentials and fragment."""
    return url.copy_with(userinfo=b"", fragment=None)


def _shown(url: httpx.URL | str) -> str:
    """A URL for people: without credentials and without the query, which may hold a key."""
    return str(_bare(httpx.URL(url)).copy_with(query=None))
