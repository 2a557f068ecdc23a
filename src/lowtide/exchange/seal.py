"""Sealing: a change to offers, quotes or conditions stands in the book's next version, in the same commit."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import orjson
from prometheus_client import Histogram
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.book_changes import BookChanges
from lowtide.exchange.price_maximum import price_maxima, raised
from lowtide.market.book import Book, Row, book_from_lines
from lowtide.market.book_lines import (
    CONDITIONS,
    ROW,
    capacity_values,
    conditions_line,
    offer_from_values,
    parse_conditions_line,
    parse_row_line,
    prices_from_values,
    prices_values,
    row_line,
)
from lowtide.market.offer import Capacity, Conditions, Offer
from lowtide.market.quote import Quote, pruned
from lowtide.store import book as stored_book
from lowtide.store import offers as stored_offers
from lowtide.store.database import Database
from lowtide.store.tables import OfferRow, QuoteRow
from lowtide.values.canonical import canonical
from lowtide.values.clock import Clock
from lowtide.values.errors import NotFound, SetupError
from lowtide.values.instants import DAY_US, micros

HORIZON_US = 7 * DAY_US
"""How far ahead a version holds quotes."""
PAUSE_S = 0.05
"""Changes that wait together share a version; at most one version in this many seconds."""
_KEPT_VERSIONS = 8

R = TypeVar("R")


@dataclass(slots=True)
class Touched:
    """What a change touched: offers whose line may differ; by offer id new quotes that count, the source to which an
    offer is bound now, and new conditions.

    `base` is the version before it: the newest in the fleet, since a change runs under the sealer's lock.
    """

    base: Book
    offers: set[str] = field(default_factory=set)
    quoted: dict[str, list[Quote]] = field(default_factory=dict)
    bound: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, Conditions] = field(default_factory=dict)


Change = Callable[[AsyncConnection, Touched], Awaitable[R]]
"""A unit of work that writes what it changes and names the offers it touched."""


@dataclass(slots=True)
class _Pending:
    change: Change[Any]
    answer: asyncio.Future[Any]


_SLICE = 200
_BEHIND_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class BookKeeper:
    """Holds the newest version in memory and seals the next ones. `first_conditions` gives a new offer's conditions."""

    def __init__(
        self, database: Database, clock: Clock, first_conditions: Callable[[Offer], Conditions]
    ) -> None:
        self._database = database
        self._clock = clock
        self._first_conditions = first_conditions
        self.book = Book(0, [])
        self._old: OrderedDict[int, Book] = OrderedDict()
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        self.changes = BookChanges()
        self.behind = Histogram(
            "lowtide_book_behind_seconds",
            "From a change's arrival until the book had it",
            buckets=_BEHIND_S,
            registry=None,
        )

    async def start(self) -> None:
        """Load the newest version and begin to seal."""
        async with self._database.read() as conn:
            head = await stored_book.head(conn)
            if head is not None:
                self.book = await _load(conn, head.version, head.digest)
        self.changes.begin(self.book, micros(self._clock.now()))
        self._task = asyncio.create_task(self._seal_all(), name="sealer")

    async def close(self) -> None:
        """Stop sealing; changes that wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for pending in self._pending:
            pending.answer.cancel()

    async def publish(self, change: Change[R]) -> tuple[R, int]:
        """Run a change; give its result and the version of the book in which it stands, once that is committed.

        What the change raises comes back here, and nothing of it stays.
        """
        pending = _Pending(change, asyncio.get_running_loop().create_future())
        came = time.monotonic()
        self._pending.append(pending)
        self._wake.set()
        result: tuple[R, int] = await pending.answer
        self.behind.observe(time.monotonic() - came)
        return result

    async def extend(self, slice_size: int = _SLICE) -> None:
        """Bring every row up to date with the clock: quotes within the horizon, the price maximum of 28 days.

        Some rows at a time, so that quotes and auctions come in between.
        """
        offers = [row.offer.id for row in self.book.rows if not row.offer.withdrawn]
        for begin in range(0, len(offers), slice_size):
            some = offers[begin : begin + slice_size]

            async def change(_conn: AsyncConnection, touched: Touched, some: list[str] = some) -> None:
                touched.offers |= set(some)

            await self.publish(change)

    async def at(self, version: int) -> Book:
        """Any version of the book. Raises SetupError where its lines do not give the digest that was sealed."""
        if version == self.book.version:
            return self.book
        if version not in self._old:
            async with self._database.read() as conn:
                sealed = await stored_book.version(conn, version)
                if sealed is None:
                    raise NotFound(f"The book has no version {version}.")
                self._old[version] = await _load(conn, version, sealed.digest)
            while len(self._old) > _KEPT_VERSIONS:
                self._old.popitem(last=False)
        self._old.move_to_end(version)
        return self._old[version]

    async def follow(self) -> None:
        """Take over versions that other nodes sealed."""
        async with self._database.read() as conn:
            head = await stored_book.head(conn)
            if head is not None and head.version > self.book.version:
                self._replace(await _follow(conn, self.book, head.version))

    async def _seal_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._pending = self._pending, []
            if not batch:
                continue
            started = time.monotonic()
            outcomes = await self._sealed(batch)
            for pending, outcome in zip(batch, outcomes, strict=True):
                if pending.answer.done():
                    continue
                if isinstance(outcome, Exception):
                    pending.answer.set_exception(outcome)
                else:
                    pending.answer.set_result((outcome, self.book.version))
            await asyncio.sleep(max(0.0, PAUSE_S - (time.monotonic() - started)))

    async def _sealed(self, batch: list[_Pending]) -> list[Any]:
        """What became of each change: sealed together, or each alone where one of them cannot be sealed."""
        try:
            book, outcomes = await self._database.writer.write(partial(self._seal, batch=batch))
        except Exception as fault:
            if len(batch) == 1:
                return [fault]
            return [outcome for pending in batch for outcome in await self._sealed([pending])]
        self._replace(book)
        return outcomes

    async def _seal(self, conn: AsyncConnection, *, batch: list[_Pending]) -> tuple[Book, list[Any]]:
        head = await stored_book.lock_head(conn)
        base = self.book
        if head is not None and head.version > base.version:
            base = await _follow(conn, base, head.version)
        touched, outcomes = Touched(base), list[Any]()
        for pending in batch:
            mine = Touched(base)
            try:
                async with conn.begin_nested():
                    outcomes.append(await pending.change(conn, mine))
            except Exception as fault:
                outcomes.append(fault)
            else:
                touched.offers |= mine.offers
                touched.conditions |= mine.conditions
                touched.bound |= mine.bound
                for offer_id, quotes in mine.quoted.items():
                    touched.quoted.setdefault(offer_id, []).extend(quotes)
        changes = await self._changes(conn, base, touched)
        if not changes:
            return base, outcomes
        lines: dict[tuple[int, str], bytes] = {}
        for number, row in sorted(changes.items()):
            old = base.rows[number] if number < len(base) else None
            if old is None or old.conditions != row.conditions:
                lines[number, CONDITIONS] = conditions_line(number, row.conditions)
            if old is None or (old.offer, old.quotes) != (row.offer, row.quotes):
                lines[number, ROW] = row_line(number, row.offer, row.quotes)
        book = base.with_rows(base.version + 1, changes, lines)
        told = [(number, kind, line) for (number, kind), line in lines.items()]
        await stored_book.add_version(conn, book.version, book.digest, micros(self._clock.now()), told)
        return book, outcomes

    async def _changes(self, conn: AsyncConnection, base: Book, touched: Touched) -> dict[int, Row]:
        now = micros(self._clock.now())
        changes = self._quick(base, touched, now)
        ids = touched.offers | {
            offer_id
            for offer_id in touched.conditions.keys() | touched.quoted.keys() | touched.bound.keys()
            if offer_id not in base.row_of
        }
        if not ids:
            return changes
        rows = await stored_offers.get_many(conn, sorted(ids))
        quotes = await _quotes(conn, rows, now)
        maxima = await price_maxima(conn, rows, now)
        for row in rows:
            offer = listing(row)
            old = base.rows[row.row] if row.row < len(base) else None
            conditions = touched.conditions.get(row.id) or (
                old.conditions if old else self._first_conditions(offer)
            )
            conditions = replace(conditions, price_max=maxima.get(row.id, conditions.price_max))
            fresh = Row(offer, quotes[row.id], conditions)
            if fresh != old:
                changes[row.row] = fresh
        return changes

    @staticmethod
    def _quick(base: Book, touched: Touched, now: int) -> dict[int, Row]:
        """Rows of which only quotes or conditions are new: made from the version before, without the database."""
        changes: dict[int, Row] = {}
        for offer_id in touched.quoted.keys() | touched.conditions.keys() | touched.bound.keys():
            number = base.row_of.get(offer_id)
            if number is None or offer_id in touched.offers:
                continue
            old, added = base.rows[number], touched.quoted.get(offer_id, [])
            quotes = pruned((*old.quotes, *added), now, now + HORIZON_US) if added else old.quotes
            conditions = touched.conditions.get(offer_id, old.conditions)
            conditions = replace(conditions, price_max=raised(old.conditions.price_max, added))
            offer = old.offer
            if offer_id in touched.bound:
                offer = replace(offer, price_source=touched.bound[offer_id])
            fresh = Row(offer, quotes, conditions)
            if fresh != old:
                changes[number] = fresh
        return changes

    def _replace(self, book: Book) -> None:
        if book.version > self.book.version:
            self.changes.add(self.book, book, micros(self._clock.now()))
            self.book = book
            self.changed.set()
            self.changed = asyncio.Event()


def listing(row: OfferRow) -> Offer:
    """The core's offer of a stored one."""
    values = orjson.loads(row.body)
    values |= {"id": row.id, "price_source": row.price_source, "withdrawn": int(row.withdrawn_at is not None)}
    return offer_from_values(values)


async def _quotes(
    conn: AsyncConnection, rows: Iterable[OfferRow], now: int
) -> Mapping[str, tuple[Quote, ...]]:
    found: dict[str, list[Quote]] = {row.id: [] for row in rows}
    sources = {row.id: row.price_source for row in rows}
    for quote in await stored_offers.quotes_alive(conn, sorted(found), None, now):
        if quote.source == sources[quote.offer_id]:
            found[quote.offer_id].append(stored_quote(quote))
    return {offer_id: pruned(quotes, now, now + HORIZON_US) for offer_id, quotes in found.items()}


def stored_quote(row: QuoteRow) -> Quote:
    """The core's quote of a stored one."""
    return Quote(
        prices_from_values(orjson.loads(row.prices)),
        row.valid_from,
        row.valid_until,
        row.sequence,
        row.quarantined,
        None if row.capacity is None else Capacity(*orjson.loads(row.capacity)),
        row.firm_until,
    )


def quote_values(quote: Quote) -> dict[str, Any]:
    """A quote as the columns that keep it."""
    places = None if quote.capacity is None else capacity_values(quote.capacity)
    return {
        "sequence": quote.sequence,
        "valid_from": quote.valid_from,
        "valid_until": quote.valid_until,
        "prices": canonical(prices_values(quote.prices)).decode(),
        "capacity": None if places is None else canonical(places).decode(),
        "firm_until": quote.firm_until,
        "quarantined": quote.quarantined,
    }


async def _load(conn: AsyncConnection, version: int, digest: bytes) -> Book:
    lines = await stored_book.lines_at(conn, version)
    book = book_from_lines(version, [(line.row, line.kind, line.line) for line in lines])
    if book.digest != digest:
        raise SetupError(
            f"Version {version} of the book does not match its digest: a line of book_rows was changed."
        )
    return book


async def _follow(conn: AsyncConnection, book: Book, version: int) -> Book:
    changes: dict[int, Row] = {}
    for number, kind, line, _ in await stored_book.lines_between(conn, book.version, version):
        old = changes.get(number) or (book.rows[number] if number < len(book) else None)
        if kind == ROW:
            _, offer, quotes = parse_row_line(line)
            changes[number] = Row(offer, quotes, old.conditions if old else Conditions())
        else:
            _, conditions = parse_conditions_line(line)
            changes[number] = Row(old.offer, old.quotes, conditions) if old else Row(_UNKNOWN, (), conditions)
    return book.with_rows(version, changes)


_UNKNOWN = Offer("", "", "", "")
