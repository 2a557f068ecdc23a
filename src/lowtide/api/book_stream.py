"""The book as a stream: a snapshot, then what each version changes. Readers are not waited for.

Nothing is queued for a reader: it takes what it has not seen from the keeper's bounded changes, at its own pace. One who
falls behind them, or whose connection takes nothing for too long, is dropped with a notice, and may resume.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from starlette.types import Send

from lowtide.api.book_filter import BookFilter
from lowtide.api.streams import EventStream
from lowtide.api.views import ask, when
from lowtide.exchange.book_changes import Sealed
from lowtide.exchange.market import Market
from lowtide.market.book import Book, Row
from lowtide.market.quote import boundaries

KEEP_ALIVE_S = 15.0
GRACE_S = 60.0
"""How long a reader that is being dropped may take to hear of it."""
_A_TURN = 100
"""Asks rendered before others get their turn."""
_rendered: WeakKeyDictionary[Sealed, dict[int, bytes]] = WeakKeyDictionary()
"""Asks of a version as bytes, rendered once for all readers, for as long as the version is kept."""


class BookReader:
    """One reader's place in the book: the version it has seen, and the instant (µs) up to which price steps were told."""

    def __init__(self, market: Market, wanted: BookFilter, resumed: int | None) -> None:
        self._market, self._wanted = market, wanted
        known = None if resumed is None else market.keeper.changes.since(resumed)
        self._version: int | None = None if known is None else resumed
        self._told_until = 0 if known is None else known[0]
        self._told_at: dict[int, int] = {}
        """Rows told of since, and as of when."""
        self._taken = self._version or 0

    async def events(self) -> AsyncIterator[bytes]:
        """The events, each whole, until the reader has fallen too far behind."""
        keeper = self._market.keeper
        while True:
            changed = keeper.changed
            if self._version is None:
                yield await self._snapshot(keeper.book)
            found = keeper.changes.since(self._version or 0)
            if found is None:
                yield self.dropped()
                return
            for sealed in found[1]:
                # Here the event before has been taken: from there a dropped reader may go on.
                self._taken, self._version = self._version or 0, sealed.version
                if event := await self._changed(sealed):
                    yield event
            self._taken = self._version or 0
            if step := self._stepped(keeper.book):
                yield step
            if changed.is_set():
                continue
            try:
                await asyncio.wait_for(changed.wait(), self._pause_s(keeper.book))
            except TimeoutError:
                # An id without data moves the reader's place, and is no event.
                yield b"id: %d\n: alive\n\n" % self._taken

    def dropped(self) -> bytes:
        """The last event of a reader that is too slow: what to send to go on from here."""
        data = {
            "reason": "too_slow",
            "last_event_id": str(self._taken),
            "detail": "This reader is slower than the market. Connect again with Last-Event-ID to go on from here.",
        }
        return b"event: dropped\ndata: " + orjson.dumps(data) + b"\n\n"

    async def _snapshot(self, book: Book) -> bytes:
        self._version, self._told_until = book.version, self._market.now()
        at, asks = self._told_until, []
        for number, row in enumerate(book.rows):
            if number % _A_TURN == _A_TURN - 1:
                await asyncio.sleep(0)
            if self._wanted.concerns(row) and self._wanted.shows(row, at):
                asks.append(orjson.dumps(ask(row, at)))
        return _event("book", at, book.version, asks, {"digest": book.digest.hex()})

    async def _changed(self, sealed: Sealed) -> bytes | None:
        asks, removed = [], []
        rendered = _rendered.setdefault(sealed, {})
        for place, (number, row) in enumerate(sealed.rows.items()):
            if place % _A_TURN == _A_TURN - 1:
                await asyncio.sleep(0)
            if not self._wanted.concerns(row):
                continue
            self._told_at[number] = sealed.at
            if not self._wanted.shows(row, sealed.at):
                removed.append(row.offer.id)
                continue
            if number not in rendered:
                rendered[number] = orjson.dumps(ask(row, sealed.at))
            asks.append(rendered[number])
        if not asks and not removed:
            return None
        return _event("change", sealed.at, sealed.version, asks, {"removed": removed})

    def _stepped(self, book: Book) -> bytes | None:
        """The rows whose price has stepped by the clock since the last look."""
        now, version = self._market.now(), self._version
        if version != book.version or now <= self._told_until:
            return None
        stepping = [(number, book.rows[number]) for number in book.rows_stepping(self._told_until, now)]
        concerned = [
            row
            for number, row in stepping
            if self._wanted.concerns(row) and _steps(row, self._told_at.get(number, self._told_until), now)
        ]
        self._told_until = now
        self._told_at.clear()
        if not concerned:
            return None
        shown = [row for row in concerned if self._wanted.shows(row, now)]
        removed = [row.offer.id for row in concerned if not self._wanted.shows(row, now)]
        return _event("change", now, version, _asks(shown, now), {"removed": removed})

    def _pause_s(self, book: Book) -> float:
        """Until the next known price step, at most until a sign of life is due."""
        now = self._market.now()
        step = book.prices_at(now).until
        return KEEP_ALIVE_S if step is None else min(KEEP_ALIVE_S, max(0.05, (step - now) / 1_000_000))


def _steps(row: Row, after: int, upto: int) -> bool:
    return any(after < edge <= upto for edge in boundaries(row.quotes))


def _asks(rows: Iterable[Row], at: int) -> list[bytes]:
    return [orjson.dumps(ask(row, at)) for row in rows]


def _event(kind: str, at: int, version: int, asks: list[bytes], more: dict[str, Any]) -> bytes:
    head = orjson.dumps({"as_of": when(at), "book_version": version, **more})
    data = head[:-1] + b',"data":[' + b",".join(asks) + b"]}"
    return f"event: {kind}\nid: {version}\ndata: ".encode() + data + b"\n\n"


class BookStream(EventStream):
    """Sends a reader its events. Where one is not taken for `patience_s` (real time), the reader is dropped.

    Between events nothing is held; what was begun is at most one event and the socket's own buffer.
    """

    def __init__(self, reader: BookReader, patience_s: float) -> None:
        super().__init__(reader.events(), headers={"Cache-Control": "no-store"})
        self._reader, self._patience_s = reader, patience_s

    async def stream_response(self, send: Send) -> None:
        """Send the events, or the notice that ends them; a reader that does not even take that is cut off."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for event in self.body_iterator:
                async with asyncio.timeout(self._patience_s):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            last = b""
        except TimeoutError:
            last = self._reader.dropped()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await send({"type": "http.response.body", "body": last, "more_body": False})
