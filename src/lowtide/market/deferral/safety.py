"""Holding never makes a deadline missed: the latest start, and whether the rescue then will fit."""

import numpy as np

from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.columns import Bools
from lowtide.market.deferral.net import GUARD_US
from lowtide.market.eligibility import LossReason, completion_p99_ms, reasons
from lowtide.market.spot import Inputs, Spot
from lowtide.market.task import Task
from lowtide.values.money import MTOK, ceil_div


def latest_start(task: Task, book: Book, spot: Spot) -> int | None:
    """The last instant (µs) from which the best eligible offer may fail and the best elsewhere still finish.

    `complete_by` − (p99 completion of the best + that of the best at another provider, or twice the one) − the guard.
    None without a deadline or without an eligible offer. Offers whose calls may be taken back don't count beside others.
    """
    if task.constraints.complete_by is None or not spot.top:
        return None
    if spot.net is not None:
        return spot.net.latest
    completion = completion_p99_ms(spot.book, spot.bids)
    best = spot.top[0].row
    elsewhere = np.flatnonzero((spot.reason == 0) & (book.provider_codes != book.provider_codes[best]))
    second = int(elsewhere[np.argmax(spot.score[elsewhere])]) if len(elsewhere) else best
    return task.constraints.complete_by - 1_000 * int(completion[best] + completion[second]) - GUARD_US


def rescue_fits(task: Task, book: Book, inputs: Inputs, latest: int, spot: Spot, spot_then: Spot) -> bool:
    """Whether a run at the latest start is sure to be within the budget, as far as prices can be known.

    An offer counts if its price is firm until then, or if the highest price of its history fits the budget. Where two
    providers can serve now (`spot`), a second must be there too, since the one may fail just then.
    """
    safe = ~book.on_lanes(inputs.preemptible) if spot.net is not None else np.ones(len(book), dtype=np.bool_)
    if not _as_many_to_turn_to(book, spot, spot_then, safe):
        return False
    fit = [ranked.row for ranked in spot_then.top if safe[ranked.row]]
    if task.constraints.max_cost_nano is None:
        return bool(fit)
    if any(_firm(book, row, latest) for row in fit):
        return True
    judged = reasons(task, book, spot_then.prices, spot_then.bids, latest, (), inputs.closed_lanes)
    return any(
        worst_by_history(book, spot_then, row) <= task.constraints.max_cost_nano
        for row in np.flatnonzero((judged == 0) & safe).tolist()
        if book.rows[row].conditions.price_max is not None
    )


def _as_many_to_turn_to(book: Book, spot: Spot, spot_then: Spot, safe: Bools) -> bool:
    """Whether one provider can serve then, or two where two can now. A quote that only lapses may be renewed: it counts.

    Only `safe` rows count.
    """
    now, then = (spot.reason == 0) & safe, (spot_then.reason == 0) & safe
    then |= now & (spot_then.reason == LossReason.NO_VALID_QUOTE)
    codes = book.provider_codes
    return len(np.unique(codes[then])) >= min(2, len(np.unique(codes[now])))


def _firm(book: Book, row: int, at: int) -> bool:
    quote = book.quote_at(row, at)
    return quote is not None and quote.valid_until is not None


def worst_by_history(book: Book, spot: Spot, row: int) -> int:
    """Worst cost (nano-USD) at the highest prices of the row's history, rounded up."""
    ceiling = book.rows[row].conditions.price_max
    if ceiling is None:
        raise ValueError("a row without a price history has no worst case")
    tokens, limit = at_row(spot.bids.input_tokens, row), at_row(spot.bids.output_limit, row)
    flat_worst = spot.bids.worst_of(row)
    by_history = ceiling[2] + ceil_div(ceil_div(tokens * 5, 4) * ceiling[0] + limit * ceiling[1], MTOK)
    return max(flat_worst, by_history)
