"""Scarcity: what a place at an offer is worth in the coming slots, as the last call auction priced it."""

from dataclasses import dataclass

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.market.book import Book
from lowtide.market.clearing.outcome import outcome_from_values
from lowtide.market.clearing.rounds import slot_starts
from lowtide.store import auctions, log

TRUSTED_SLOTS = 2
"""After so many slots without a new round its prices keep nobody back any more."""
_NANO_A_MICRO = 1_000


@dataclass(frozen=True, slots=True)
class Priced:
    """The shadow prices of one round, nano-USD by offer and slot: what one more place would add. `starts` in µs."""

    auction_id: str
    as_of: int
    slot_us: int
    starts: tuple[int, ...]
    prices: dict[str, tuple[int, ...]]

    def slot_at(self, at: int) -> int:
        """The number of the slot that holds an instant; it may lie beyond the last."""
        return at // self.slot_us - self.as_of // self.slot_us


class Scarcity:
    """The last round's prices, as far as this node has read them."""

    def __init__(self) -> None:
        self.last: Priced | None = None

    async def read(self, conn: AsyncConnection) -> None:
        """Read the newest round's record, where it is another than the one known."""
        row = await auctions.latest_call(conn)
        if row is None or (self.last is not None and row.id == self.last.auction_id):
            return
        line = await log.record_of(conn, row.id)
        if line is not None:
            self.last = priced(line.line)

    def rows(self, book: Book, now: int) -> frozenset[int]:
        """Rows whose places in the slot of now (µs) are all given to others, or worth more to them."""
        last = self.last
        if last is None or not 0 <= (slot := last.slot_at(now)) < min(TRUSTED_SLOTS, len(last.starts)):
            return frozenset()
        dear = (offer for offer, prices in last.prices.items() if prices[slot] > 0)
        return frozenset(book.row_of[offer] for offer in dear if offer in book.row_of)

    def wanted_rows(self, book: Book) -> frozenset[int]:
        """Rows of which the last round had less than was wanted, in any slot."""
        prices = {} if self.last is None else self.last.prices
        return frozenset(
            book.row_of[offer] for offer, its in prices.items() if any(its) and offer in book.row_of
        )


def priced(line: bytes) -> Priced:
    """The shadow prices of a round's record."""
    stored = orjson.loads(line)
    price = outcome_from_values(stored["outcome"]).price.reshape(len(stored["offers"]), stored["slots"])
    by_offer = zip(stored["offers"], (price * np.int64(_NANO_A_MICRO)).tolist(), strict=True)
    starts = slot_starts(stored["as_of"], stored["slot_us"], stored["slots"])
    return Priced(
        stored["id"],
        stored["as_of"],
        stored["slot_us"],
        tuple(starts),
        {offer: tuple(prices) for offer, prices in by_offer},
    )
