"""The book: an immutable, versioned snapshot of all offers with their quotes and conditions, held as arrays."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lowtide.market.book_lines import (
    CONDITIONS,
    ROW,
    conditions_line,
    parse_conditions_line,
    parse_row_line,
    row_line,
)
from lowtide.market.columns import (
    Bools,
    Columns,
    Ints,
    PriceColumns,
    changed_columns,
    columns_of,
    price_columns,
)
from lowtide.market.edges import Edges
from lowtide.market.kept import KeptColumns
from lowtide.market.offer import Conditions, Offer
from lowtide.market.quote import Quote, effective_quote
from lowtide.market.task import Lists
from lowtide.values.canonical import sha256

T = TypeVar("T")
GENERAL = ""
_KEPT_PRICES = 1_000_000
"""Prices kept at most, over all instants that were asked for: a decision to wait looks at every step ahead."""
_REMEMBERED = 128
_HASHED = 64
"""Bytes that a row adds to the digest's input: two SHA-256s."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the book: an offer, its quotes (UTC intervals), its conditions."""

    offer: Offer
    quotes: tuple[Quote, ...]
    conditions: Conditions


class Book:
    """Version `version` of all offers; row numbers are registration order and never change.

    Immutable but for caches of what is computed from it: a price step needs no new version, since the effective
    price is a function of (row, instant).
    """

    def __init__(self, version: int, rows: Iterable[Row], *, hashes: bytes | None = None) -> None:
        self.version = version
        self.rows: tuple[Row, ...] = tuple(rows)
        self._number_rows()
        self.hashes = (
            hashes
            if hashes is not None
            else b"".join(row_hashes(number, row) for number, row in enumerate(self.rows))
        )
        self.columns: Columns = columns_of((row.offer, row.conditions) for row in self.rows)
        self._edges = Edges.of((number, row.quotes) for number, row in enumerate(self.rows))
        self._domains = frozenset(name for row in self.rows for name, _, _ in row.conditions.quality)
        self._quality: KeptColumns[str, Row] = KeptColumns(2, _quality_values)
        self._barred: KeptColumns[Lists, Row] = KeptColumns(1, _barred_value)
        self._outside: KeptColumns[tuple[str, ...], Row] = KeptColumns(1, _outside_value)
        self._on_lanes: KeptColumns[tuple[str, ...], Row] = KeptColumns(1, _on_lanes_value)
        self._prices: list[PriceColumns] = []
        """By the instant from which they hold."""
        self._last_prices: tuple[PriceColumns, frozenset[int]] | None = None
        self._clear()

    def _clear(self) -> None:
        self._digest: bytes | None = None
        self._remembered: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the SHA-256s of the version's lines in (row, kind) order."""
        if self._digest is None:
            self._digest = sha256(self.hashes)
        return self._digest

    def with_rows(
        self, version: int, changes: Mapping[int, Row], lines: Mapping[tuple[int, str], bytes] | None = None
    ) -> "Book":
        """The next version: these rows replaced, or appended where their number is new. Costs what changed.

        What is kept of prices, quality and lists is carried over; a new offer makes the names be numbered anew.
        `lines` are those of the changed rows that differ, by (row, kind), where the caller has them at hand.
        Raises ValueError where an appended row would leave a gap.
        """
        after = copy(self)
        after.version = version
        after._clear()
        after._take_rows(self, changes, lines)
        is_other = _differences(self, changes)
        listed = is_other(lambda row: row.offer)
        observed = listed | is_other(lambda row: row.conditions)
        priced = is_other(lambda row: (row.quotes, row.offer.withdrawn))
        if observed:
            entries = {number: (changes[number].offer, changes[number].conditions) for number in observed}
            after.columns = changed_columns(self.columns, len(after), entries)
            named = {name for number in observed for name, _, _ in changes[number].conditions.quality}
            after._domains = self._domains | named
        after._quality = self._quality.carried(observed)
        after._barred, after._outside = self._barred.carried(listed), self._outside.carried(listed)
        after._on_lanes = self._on_lanes.carried(listed)
        after._prices = list(self._prices)
        if priced:
            after._edges = self._edges.replaced({number: changes[number].quotes for number in priced})
            after._prices = []
            if self._prices:
                after._last_prices = (self._prices[0], priced)
            elif self._last_prices is not None:
                after._last_prices = (self._last_prices[0], self._last_prices[1] | priced)
        return after

    def _take_rows(
        self,
        before: "Book",
        changes: Mapping[int, Row],
        lines: Mapping[tuple[int, str], bytes] | None,
    ) -> None:
        rows, hashes = list(before.rows), bytearray(before.hashes)
        renamed = {n for n, row in changes.items() if n >= len(rows) or _names(rows[n]) != _names(row)}
        for number in sorted(changes):
            if number > len(rows):
                raise ValueError(f"row {number} would leave a gap after row {len(rows) - 1}")
            if number == len(rows):
                rows.append(changes[number])
                hashes += bytes(_HASHED)
            rows[number] = changes[number]
            place = number * _HASHED
            if lines is None:
                hashes[place : place + _HASHED] = row_hashes(number, changes[number])
                continue
            for start, kind in ((place, CONDITIONS), (place + _HASHED // 2, ROW)):
                if (number, kind) in lines:
                    hashes[start : start + _HASHED // 2] = sha256(lines[number, kind])
        self.rows, self.hashes = tuple(rows), bytes(hashes)
        if renamed:
            self._number_rows()

    def _number_rows(self) -> None:
        self.row_of: dict[str, int] = {row.offer.id: number for number, row in enumerate(self.rows)}
        self.row_of_key = {row.offer.key: number for number, row in enumerate(self.rows)}
        codes: dict[str, int] = {}
        self.provider_codes: Ints = np.array(
            [codes.setdefault(row.offer.provider, len(codes)) for row in self.rows], dtype=np.int64
        )

    def prices_at(self, at: int) -> PriceColumns:
        """Effective prices at an instant (µs), kept until the next known step."""
        position = bisect_right(self._prices, at, key=_since)
        before = self._prices[position - 1] if position else None
        if before is not None and (before.until is None or at < before.until):
            return before
        stale = frozenset[int]()
        since, until = self._edges.around(at)
        if before is None and self._last_prices is not None and self._last_prices[0].since <= since:
            before, stale = self._last_prices
        numbers: Iterable[int] = range(len(self))
        if before is not None:
            numbers = sorted(stale | self._edges.rows_between(before.since, at))
        entries = ((number, self.rows[number].offer, self.rows[number].quotes) for number in numbers)
        columns = price_columns(len(self), entries, (since, until), at, before)
        self._prices.insert(position, columns)
        if len(self._prices) * len(self) > _KEPT_PRICES:
            del self._prices[0 if position else -1]
        return columns

    def steps_between(self, after: int, upto: int) -> list[int]:
        """Known instants in `(after, upto]` at which some effective price may change, in order."""
        return self._edges.instants_between(after, upto)

    def rows_stepping(self, after: int, upto: int) -> list[int]:
        """Rows whose effective price may change in `(after, upto]`."""
        return sorted(self._edges.rows_between(after, upto))

    def quote_at(self, row: int, at: int) -> Quote | None:
        """The quote of a row in force at an instant."""
        return effective_quote(self.rows[row].quotes, at)

    def quality_columns(self, domain: str) -> tuple[Ints, Ints]:
        """Mean quality (ppm) and weight of its evidence (thousandths) by row, in a domain or else in general."""
        mean, weight = self._quality.get(domain if domain in self._domains else GENERAL, self.rows)
        return mean, weight

    def barred(self, lists: Lists) -> Bools:
        """Rows that the lists do not admit."""
        barred: Bools = self._barred.get(lists, self.rows)[0] != 0
        return barred

    def outside(self, regions: tuple[str, ...]) -> Bools:
        """Rows that serve in none of the regions; an offer that names no region is outside them all."""
        outside: Bools = self._outside.get(regions, self.rows)[0] != 0
        return outside

    def on_lanes(self, lanes: tuple[str, ...]) -> Bools:
        """Rows whose offer is on one of the lanes."""
        on_lanes: Bools = self._on_lanes.get(lanes, self.rows)[0] != 0
        return on_lanes

    def remembered(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What follows from this version and the key alone, computed once. At most 128 keys stay."""
        found: T | None = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            found = self._remembered[key] = compute()
        return found


def _differences(
    before: Book, changes: Mapping[int, Row]
) -> Callable[[Callable[[Row], object]], frozenset[int]]:
    def differ(part: Callable[[Row], object]) -> frozenset[int]:
        return frozenset(
            number
            for number, row in changes.items()
            if number >= len(before) or part(before.rows[number]) != part(row)
        )

    return differ


def _names(row: Row) -> tuple[object, ...]:
    return row.offer.id, row.offer.key


def _quality_values(domain: str, row: Row) -> tuple[int, ...]:
    return quality_in(row.conditions, domain)


def _barred_value(lists: Lists, row: Row) -> tuple[int, ...]:
    return (int(not admits(lists, row.offer)),)


def _outside_value(regions: tuple[str, ...], row: Row) -> tuple[int, ...]:
    return (int(set(regions).isdisjoint(row.offer.regions)),)


def _on_lanes_value(lanes: tuple[str, ...], row: Row) -> tuple[int, ...]:
    return (int(row.offer.lane in lanes),)


def admits(lists: Lists, offer: Offer) -> bool:
    """Whether the lists admit an offer. A model is named as the market names it, or as its provider does."""
    if (
        lists.models is not None
        and offer.model not in lists.models
        and offer.upstream_model not in lists.models
    ):
        return False
    if lists.providers is not None and offer.provider not in lists.providers:
        return False
    return offer.provider not in lists.exclude_providers


def quality_in(conditions: Conditions, domain: str) -> tuple[int, int]:
    """Mean (ppm) and weight (thousandths) in a domain, else of the general record."""
    general = (700_000, 4_000)
    for name, mean, weight in conditions.quality:
        if name == domain:
            return mean, weight
        if name == GENERAL:
            general = (mean, weight)
    return general


def row_hashes(number: int, row: Row) -> bytes:
    """The 64 bytes that a row adds to the version's digest: of its conditions line, then of its offer line."""
    return sha256(conditions_line(number, row.conditions)) + sha256(row_line(number, row.offer, row.quotes))


def book_from_lines(version: int, lines: Iterable[tuple[int, str, bytes]]) -> Book:
    """The book of stored lines (row, kind, line). Raises ValueError where a row's line is missing or misplaced."""
    offers: dict[int, tuple[Offer, tuple[Quote, ...]]] = {}
    conditions: dict[int, Conditions] = {}
    hashes: dict[tuple[int, str], bytes] = {}
    for number, kind, line in lines:
        hashes[number, kind] = hashlib.sha256(line).digest()
        if kind == ROW:
            stated, offer, quotes = parse_row_line(line)
            offers[number] = (offer, quotes)
        elif kind == CONDITIONS:
            stated, conditions[number] = parse_conditions_line(line)
        else:
            raise ValueError(f"a book line of unknown kind {kind!r}")
        if stated != number:
            raise ValueError(f"the {kind} line of row {number} says it is of row {stated}")
    if sorted(offers) != list(range(len(offers))) or offers.keys() != conditions.keys():
        raise ValueError(f"version {version} of the book is incomplete")
    rows = [Row(*offers[number], conditions[number]) for number in range(len(offers))]
    digest_input = b"".join(hashes[number, CONDITIONS] + hashes[number, ROW] for number in range(len(rows)))
    return Book(version, rows, hashes=digest_input)


def _since(prices: PriceColumns) -> int:
    return prices.since
