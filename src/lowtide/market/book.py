"""The book: an immutable, versioned snapshot of all offers with their quotes and conditions, held as arrays."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lowtide.market.book_lines import (
    CONDITIONS,
    ROW,
    conditions_line,
    parse_conditions_line,
    parse_row_line,
    row_line,
)
from lowtide.market.columns import Bools, Columns, Ints, PriceColumns, columns_of, price_columns
from lowtide.market.offer import Conditions, Offer
from lowtide.market.quote import Quote, boundaries, effective_quote
from lowtide.market.task import Lists
from lowtide.values.canonical import sha256

GENERAL = ""
_KEPT_PRICE_COLUMNS = 32
_KEPT_MASKS = 256


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
        self.row_of: dict[str, int] = {row.offer.id: number for number, row in enumerate(self.rows)}
        self.row_of_key = {row.offer.key: number for number, row in enumerate(self.rows)}
        self._offers = [row.offer for row in self.rows]
        self._quotes = [row.quotes for row in self.rows]
        self.hashes = (
            hashes
            if hashes is not None
            else b"".join(row_hashes(number, row) for number, row in enumerate(self.rows))
        )
        self.columns: Columns = columns_of(self._offers, [row.conditions for row in self.rows])
        codes: dict[str, int] = {}
        self.provider_codes: Ints = np.array(
            [codes.setdefault(offer.provider, len(codes)) for offer in self._offers], dtype=np.int64
        )
        self._digest: bytes | None = None
        self._edges: list[tuple[int, int]] = sorted(
            (edge, number) for number, quotes in enumerate(self._quotes) for edge in boundaries(quotes)
        )
        self._edge_instants = [edge for edge, _ in self._edges]
        self._prices: list[PriceColumns] = []
        self._quality: dict[str, tuple[Ints, Ints]] = {}
        self._masks: dict[Lists, Bools] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the SHA-256s of the version's lines in (row, kind) order."""
        if self._digest is None:
            self._digest = sha256(self.hashes)
        return self._digest

    def with_rows(self, version: int, changes: Mapping[int, Row]) -> "Book":
        """The next version: these rows replaced, or appended where their number is new.

        Costs what changed for lines and prices; the plain columns are built anew.
        """
        rows = list(self.rows)
        hashes = bytearray(self.hashes)
        for number in sorted(changes):
            if number == len(rows):
                rows.append(changes[number])
                hashes += bytes(64)
            rows[number] = changes[number]
            hashes[number * 64 : (number + 1) * 64] = row_hashes(number, changes[number])
        return Book(version, rows, hashes=bytes(hashes))

    def prices_at(self, at: int) -> PriceColumns:
        """Effective prices at an instant (µs), kept until the next known step."""
        for kept in self._prices:
            if kept.since <= at and (kept.until is None or at < kept.until):
                return kept
        position = bisect_right(self._edge_instants, at)
        since = self._edge_instants[position - 1] if position else -(2**62)
        until = self._edge_instants[position] if position < len(self._edges) else None
        before = max(
            (kept for kept in self._prices if kept.since <= since), key=lambda kept: kept.since, default=None
        )
        changed = None
        if before is not None:
            start = bisect_right(self._edge_instants, before.since)
            changed = sorted({row for _, row in self._edges[start:position]})
        columns = price_columns(self._offers, self._quotes, since, until, at, before, changed)
        self._prices.append(columns)
        if len(self._prices) > _KEPT_PRICE_COLUMNS:
            self._prices.pop(0)
        return columns

    def steps_between(self, after: int, upto: int) -> list[int]:
        """Known instants in `(after, upto]` at which some effective price may change, in order."""
        start, end = bisect_right(self._edge_instants, after), bisect_right(self._edge_instants, upto)
        return sorted(set(self._edge_instants[start:end]))

    def rows_stepping(self, after: int, upto: int) -> list[int]:
        """Rows whose effective price may change in `(after, upto]`."""
        start, end = bisect_right(self._edge_instants, after), bisect_right(self._edge_instants, upto)
        return sorted({row for _, row in self._edges[start:end]})

    def quote_at(self, row: int, at: int) -> Quote | None:
        """The quote of a row in force at an instant."""
        return effective_quote(self._quotes[row], at)

    def quality_columns(self, domain: str) -> tuple[Ints, Ints]:
        """Mean quality (ppm) and weight of its evidence (thousandths) by row, in a domain or else in general."""
        kept = self._quality.get(domain)
        if kept is None:
            pairs = [quality_in(row.conditions, domain) for row in self.rows]
            kept = (
                np.array([mean for mean, _ in pairs], dtype=np.int64),
                np.array([weight for _, weight in pairs], dtype=np.int64),
            )
            self._quality[domain] = kept
        return kept

    def barred(self, lists: Lists) -> Bools:
        """Rows that the lists do not admit."""
        kept = self._masks.get(lists)
        if kept is None:
            kept = np.array([not admits(lists, row.offer) for row in self.rows], dtype=np.bool_)
            if len(self._masks) >= _KEPT_MASKS:
                self._masks.clear()
            self._masks[lists] = kept
        return kept

    def outside(self, regions: tuple[str, ...]) -> Bools:
        """Rows that serve in none of the regions; an offer that names no region is outside them all."""
        wanted = set(regions)
        return np.array([wanted.isdisjoint(offer.regions) for offer in self._offers], dtype=np.bool_)


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
