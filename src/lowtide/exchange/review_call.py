"""Reviewing a call auction: its instance built anew from the record and the book, its outcome verified, or solved again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lowtide.exchange.market import Market
from lowtide.exchange.review import recorded
from lowtide.exchange.solving import beside
from lowtide.market.book import Book
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared, outcome_from_values, verify
from lowtide.market.clearing.payment import payments
from lowtide.market.clearing.record import ReplayedCall, replay_call
from lowtide.market.clearing.rounds import instance_of_line, settling, unfounded
from lowtide.store.tables import AuctionRow, LogLine

_SOLVE_S = 30.0


@dataclass(frozen=True, slots=True)
class ReviewedCall:
    """A round as recorded and as verified: `differences` name what does not hold, none if all does."""

    row: AuctionRow
    line: LogLine
    book: Book
    instance: Instance
    cleared: Cleared
    written: int
    differences: tuple[tuple[str, Any, Any], ...]


async def review_call(market: Market, auction_id: str, *, again: bool = False) -> ReviewedCall:
    """Load a round's record, build its instance anew and verify the outcome; `again`: solve it again too. Raises NotFound.

    It is solved again in a process of its own, where solver and version are the record's; the certificate proves it
    anyway.
    """
    row, record, stored, lines, book, seed = await recorded(market, auction_id)
    instance, cleared = instance_of_line(record.line, book), outcome_from_values(stored["outcome"])
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
    if not differences:
        differences += _unfounded(places, instance, cleared, stored["rule"], book)
    return ReviewedCall(row, record, book, instance, cleared, len(places), tuple(differences))


def _unfounded(
    lines: Sequence[bytes], instance: Instance, cleared: Cleared, rule: str, book: Book
) -> list[tuple[str, Any, Any]]:
    """The lines of places that the outcome does not give, or not at that price."""
    told = [orjson.loads(line) for line in lines]
    paid = payments(instance, cleared, rule, settling(instance, book))
    places = ((one["task_id"], one["offer"], one["slot"], one["price"], one["surplus"]) for one in told)
    return [("place", told[number], None) for number in unfounded(instance, cleared, paid, places)]
