"""Holding: what a task keeps of a decision to wait, and of the price it would have had at arrival."""

from typing import Any

from lowtide.market.auction import Decision
from lowtide.market.book import Book
from lowtide.market.book_lines import prices_values
from lowtide.market.explain import held_because


def hold_values(decision: Decision, book: Book, now: int) -> dict[str, Any]:
    """The hold as the task keeps it: instants in µs, money in nano-USD.

    `immediate` are the unit prices of the best bid at arrival, to which the receipt compares what was paid.
    """
    plan = decision.deferral
    if plan is None:
        raise ValueError("a decision that does not wait has no hold")
    values: dict[str, Any] = {
        "policy": plan.policy,
        "release_at": plan.release_at,
        "latest_start": plan.latest_start,
        "slot": plan.slot,
        "reservation": plan.reservation_nano,
        "price_now": plan.price_now_nano,
        "expected": plan.expected_nano,
        "offer_id": book.rows[plan.row].offer.id,
        "since": now,
        "reason": held_because(book, plan),
    }
    if plan.forecast is not None:
        values["forecast"] = plan.forecast
    if decision.top:
        quote = decision.spot.book.quote_at(decision.top[0].row, now)
        if quote is not None:
            values["immediate"] = {
                "offer_id": book.rows[decision.top[0].row].offer.id,
                "prices": prices_values(quote.prices),
            }
    return values
