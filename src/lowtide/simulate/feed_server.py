"""A **simulator** of servers that publish price lists, over real HTTP: documents, "not modified", and faults.

GET /any/path gives the document set for that path; every answer says that it is simulated (`x-simulator`).
"""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from lowtide.simulate.feed_faults import GARBAGE, FeedFault, FeedStats, endless, gzip_bomb
from lowtide.simulate.replies import Cut, Receive, Send, until_disconnected
from lowtide.simulate.server import serving

_HANG_S = 3_600


@dataclass(frozen=True, slots=True)
class _Published:
    body: bytes
    content_type: str
    etag: str
    modified: datetime

    @property
    def headers(self) -> dict[str, str]:
        return {
            "content-type": self.content_type,
            "etag": self.etag,
            "last-modified": format_datetime(self.modified, usegmt=True),
        }


class FeedServer:
    """The ASGI application, and what tests and the demo tell it. Documents may change while it runs."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._documents: dict[str, _Published] = {}
        self._faults: dict[str, list[FeedFault]] = {}
        self._stats: dict[str, FeedStats] = {}

    def set_document(self, path: str, document: bytes, content_type: str = "application/json") -> None:
        """Publish a document at a path such as "/prices.json"; its ETag is by content, its date always a later one."""
        modified = self._now().replace(microsecond=0)
        if (before := self._documents.get(path)) is not None:
            modified = max(modified, before.modified + timedelta(seconds=1))
        etag = f'"{hashlib.sha256(document).hexdigest()[:16]}"'
        self._documents[path] = _Published(document, content_type, etag, modified)

    def fail(self, path: str, fault: FeedFault) -> None:
        """Let a path show a fault. Of several, the first told shows first."""
        self._faults.setdefault(path, []).append(fault)

    def heal(self, path: str) -> None:
        """Clear a path's faults."""
        self._faults.pop(path, None)

    def seen(self, path: str) -> FeedStats:
        """What a path's requests were."""
        return self._stats.setdefault(path, FeedStats())

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        stats = self.seen(scope["path"])
        stats.requests += 1
        stats.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        gone = asyncio.ensure_future(until_disconnected(receive))
        work = asyncio.ensure_future(self._answer(scope, _Counted(send, stats)))
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                stats.disconnected += 1
        finally:
            gone.cancel()
            work.cancel()
            ended = await asyncio.gather(gone, work, return_exceptions=True)
        # A cut needs no more than to return in the middle of the answer: the server drops the connection.
        if isinstance(ended[1], Exception) and not isinstance(ended[1], Cut):
            raise ended[1]

    async def _answer(self, scope: Mapping[str, Any], send: "_Counted") -> None:
        path, published = scope["path"], self._documents.get(scope["path"])
        if (fault := self._fault_for(path)) is not None:
            return await _show(fault, path, scope["query_string"].decode(), published, send)
        if scope["method"] != "GET":
            return await send.whole(405, b"GET only.\n", {"content-type": "text/plain"})
        if published is None:
            return await send.whole(404, b"No such document.\n", {"content-type": "text/plain"})
        asked = send.stats.headers
        if _not_modified(asked, published):
            send.stats.not_modified += 1
            return await send.whole(304, b"", published.headers)
        body, headers = published.body, published.headers | {"vary": "accept-encoding"}
        if "gzip" in asked.get("accept-encoding", ""):
            body, headers = gzip.compress(body, 1), headers | {"content-encoding": "gzip"}
        return await send.whole(200, body, headers)

    def _fault_for(self, path: str) -> FeedFault | None:
        for fault in self._faults.get(path, []):
            if fault.times is None or fault.times > 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


@asynccontextmanager
async def feed_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[FeedServer, str]]:
    """Serve until the block ends; gives the simulator and its base URL. Port 0 is any free one."""
    server = FeedServer()
    async with serving(server, host, port) as base:
        yield server, base


@dataclass(frozen=True, slots=True)
class _Counted:
    """A connection that counts the bytes of bodies."""

    send: Send
    stats: FeedStats

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        named = {"x-simulator": "lowtide", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})
        self.stats.sent_bytes += len(body)

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        bare = status in (204, 304)
        length = {} if bare else {"content-length": str(len(body))}
        await self.start(status, {**headers, **length})
        await self.piece(b"" if bare else body, more=False)


def _not_modified(asked: Mapping[str, str], published: _Published) -> bool:
    """RFC 9110, 13.2.2: If-None-Match decides where there is one, else If-Modified-Since."""
    if (tags := asked.get("if-none-match")) is not None:
        return tags.strip() == "*" or published.etag in {
            tag.strip().removeprefix("W/") for tag in tags.split(",")
        }
    return asked.get("if-modified-since") == published.headers["last-modified"]


async def _show(
    fault: FeedFault, path: str, query: str, published: _Published | None, send: _Counted
) -> None:
    document = b"[]" if published is None else published.body
    json_type = {"content-type": "application/json"}
    match fault.kind:
        case "status":
            asked = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
            await send.whole(fault.status, b"As told.\n", {"content-type": "text/plain", **asked})
        case "hang":
            await asyncio.sleep(_HANG_S)
        case "drip":
            await send.start(200, {**json_type, "content-length": str(len(document))})
            for at in range(len(document)):
                await send.piece(document[at : at + 1])
                await asyncio.sleep(fault.interval_s)
        case "cut":
            await send.start(200, {**json_type, "content-length": str(len(document))})
            await send.piece(document[: len(document) // 2])
            raise Cut
        case "redirect" | "circle" | "chain":
            await send.whole(302, b"", {"location": _location(fault, path, query)})
        case "endless":
            await _stream(send, endless(), json_type)
        case "gzip_bomb":
            await _stream(send, gzip_bomb(), {**json_type, "content-encoding": "gzip"})
        case "half_gzip":
            packed = gzip.compress(document)
            await send.whole(200, packed[: len(packed) // 2], {**json_type, "content-encoding": "gzip"})
        case "wrong_encoding":
            await send.whole(200, document, {**json_type, "content-encoding": "br"})
        case "wrong_type":
            await send.whole(200, document, {"content-type": "text/html"})
        case "garbage" | "empty":
            await send.whole(200, GARBAGE if fault.kind == "garbage" else b"", json_type)


def _location(fault: FeedFault, path: str, query: str) -> str:
    if fault.kind == "redirect":
        return fault.location
    if fault.kind == "circle":
        return path if query else f"{path}?again"
    hop = int(query.removeprefix("hop=") or 0)
    return f"{path}?hop={hop + 1}"


async def _stream(send: _Counted, pieces: Iterable[bytes], headers: Mapping[str, str]) -> None:
    await send.start(200, headers)
    for piece in pieces:
        await send.piece(piece)
        await asyncio.sleep(0)
    await send.piece(b"", more=False)
