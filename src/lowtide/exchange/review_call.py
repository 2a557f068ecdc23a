"""Reviewing a call auction: its instance built anew from the record and the book, its outcome verified, or solved again."""

from dataclasses import dataclass
from typing import Any

import orjson

from lowtide.exchange.market import Market
from lowtide.exchange.solving import beside
from lowtide.market.book import Book
from lowtide.market.clearing.award import awards
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared, outcome_from_values, verify
from lowtide.market.clearing.record import ReplayedCall, Round, place_line, replay_call
from lowtide.market.clearing.rounds import instance_of_line, settling
from lowtide.market.record import auction_key
from lowtide.store import auctions, log
from lowtide.store.tables import AuctionRow, LogLine
from lowtide.values.errors import NotFound

_SOLVE_S = 30.0


@dataclass(frozen=True, slots=True)
class ReviewedCall:
    """A round with its record's line, its instance and outcome; `differences` name what does not hold, none if all does."""

    row: AuctionRow
    line: LogLine
    instance: Instance
    cleared: Cleared
    written: int
    differences: tuple[tuple[str, Any, Any], ...]


async def review_call(market: Market, auction_id: str, *, again: bool = False) -> ReviewedCall:
    """Load a round's record, build its instance anew and verify the outcome; `again`: solve it again too. Raises NotFound.

    It is solved again in a process of its own, where solver and version are the record's; the certificate proves it
    anyway.
    """
    async with market.database.read() as conn:
        row = await auctions.get_auction(conn, auction_id)
        lines = [] if row is None else await log.lines_of_auction(conn, auction_id)
    record = next((line for line in lines if line.type == "auction"), None)
    if row is None or record is None:
        raise NotFound(f"No auction {auction_id}.")
    stored = orjson.loads(record.line)
    book = await market.keeper.at(stored["book"]["version"])
    instance, cleared = instance_of_line(record.line, book), outcome_from_values(stored["outcome"])
    seed = await market.seeds.at(row.as_of)
    differences: list[tuple[str, Any, Any]] = [
        (fault, "as recorded", "does not hold") for fault in verify(instance, cleared).faults
    ]
    if book.digest.hex() != stored["book"]["digest"]:
        differences.append(("book", stored["book"]["digest"], book.digest.hex()))
    if again:
        solved = await beside(replay_call, record.line, instance, seed, within_s=_SOLVE_S)
        if isinstance(solved, ReplayedCall) and solved.identical is False:
            differences.append(("outcome", "as recorded", "another when solved again"))
    places = [line.line for line in lines if line.type == "place"]
    due = frozenset[bytes]() if differences else _places(stored, instance, cleared, seed, book)
    wrong = [] if differences else [line for line in places if line not in due]
    differences += [("place", orjson.loads(line), None) for line in wrong]
    return ReviewedCall(row, record, instance, cleared, len(places), tuple(differences))


def _places(
    stored: dict[str, Any], instance: Instance, cleared: Cleared, seed: bytes, book: Book
) -> frozenset[bytes]:
    """The lines of all the places that the outcome gives."""
    call = Round(stored["id"], stored["as_of"], book.version, "", stored["slot_us"], rule=stored["rule"])
    key = auction_key(seed, call.id)
    given = awards(instance, cleared, key, call.rule, settling(instance, book))
    return frozenset(place_line(call, award) for award in given)
