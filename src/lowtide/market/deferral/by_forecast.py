"""Waiting for a price that is only forecast: what is known comes first, and a rescue must fit as for any hold."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast, ForecastUse
from lowtide.market.deferral.known import Deferral, later, waiting_cost
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.deferral.safety import latest_start, rescue_fits
from lowtide.market.price_history import unit_prices
from lowtide.market.spot import Inputs, Spot, clear
from lowtide.market.task import Task
from lowtide.values.money import ceil_div

_SETTLE, _SPREAD = 30, 10
"""A slot's first 1/30 is left to those who make its forecasts; looks are spread over the 1/10 after it."""


class _Wait(NamedTuple):
    """Waiting for one row's price: the expected bid there, and the surplus that it leaves, nano-USD."""

    use: ForecastUse
    expected_nano: int
    value_nano: int


def wait_for_forecast(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot
) -> tuple[Deferral | None, tuple[ForecastUse, ...]]:
    """Wait where some forecast of the best offers promises more surplus than running now, and a rescue will fit.

    Also gives the forecasts that were weighed, which are all that the decision rests on. A forecast's reservation price
    is scaled to the task: bid now × reservation ÷ reference price now, rounded up. Where time costs, the slots
    that are left are used only as far as they are worth it, each wait reckoned at its full length.
    """
    latest = latest_start(task, book, spot) if inputs.forecasts else None
    if latest is None:
        return None, ()
    weighed = tuple(_weighed(spot, inputs.forecasts, as_of, latest))
    waits = (wait for use in weighed for wait in _waits(task, spot, use, as_of, latest))
    best = max(waits, key=lambda wait: wait.value_nano, default=None)
    now = spot.top[0]
    if best is None or best.value_nano <= now.score_nano:
        return None, weighed
    if not _rescue_is_known(task, book, inputs, latest, auction_key, spot, best.use.row):
        return None, weighed
    forecast = best.use.forecast
    look = min(_next_look(forecast, as_of, auction_key), latest)
    plan = Deferral(
        forecast.policy,
        _next_slot(forecast, as_of) if _is_fresh(forecast, as_of) else look,
        best.use.row,
        now.bid_nano,
        best.expected_nano,
        now.bid_nano - (best.value_nano - now.score_nano),
        look,
        latest,
        forecast.digest(),
    )
    return plan, weighed


def _weighed(
    spot: Spot, forecasts: tuple[ForecastUse, ...], as_of: int, latest: int
) -> Iterator[ForecastUse]:
    """Those of the best bids' offers, made in this slot or the one before, where prices are not posted anyway.

    A pool's stands for the best of its bids now, and only where all of it can serve the task.
    """
    rows = {bid.row for bid in spot.top}
    for use in forecasts:
        if use.members:
            if spot.reason[list(use.members)].any():
                continue
            use = use._replace(row=max(use.members, key=spot.score.item))
        slot_us = use.forecast.slot_us
        age = as_of // slot_us - use.forecast.made_at // slot_us
        if use.row not in rows or age not in (0, 1) or _next_slot(use.forecast, as_of) > latest:
            continue
        then = spot.book.quote_at(use.row, latest)
        if then is None or then.valid_until is None:
            yield use


def _waits(task: Task, spot: Spot, use: ForecastUse, as_of: int, latest: int) -> Iterator[_Wait]:
    quote, forecast = spot.book.quote_at(use.row, as_of), use.forecast
    prices = None if quote is None else unit_prices(quote.prices)
    reference = 0 if prices is None else reference_nano(prices)
    if reference <= 0:
        return
    score = at_row(spot.score, use.row)
    bid = at_row(spot.bids.expected, use.row)
    first = _next_slot(forecast, as_of)
    left = (latest - first) // forecast.slot_us + 1
    looked = first + forecast.slot_us // _SETTLE + forecast.slot_us // _SPREAD
    for slots in range(1 if task.objective.per_second_nano else left, left + 1):
        price = forecast.reservation_nano(slots)
        if price is None:
            continue
        expected = ceil_div(bid * price, reference)
        until = min(latest, looked + (slots - 1) * forecast.slot_us)
        yield _Wait(use, expected, score + bid - expected - waiting_cost(task, until - as_of))


def _rescue_is_known(
    task: Task, book: Book, inputs: Inputs, latest: int, auction_key: bytes, spot: Spot, row: int
) -> bool:
    """Whether the rescue will fit; where no budget limits it, what it may cost must at least have a history."""
    if task.constraints.max_cost_nano is None and book.rows[row].conditions.price_max is None:
        return False
    then = clear(task, book, later(inputs), latest, auction_key)
    return rescue_fits(task, book, inputs, latest, spot, then)


def _is_fresh(forecast: Forecast, as_of: int) -> bool:
    return as_of // forecast.slot_us == forecast.made_at // forecast.slot_us


def _next_slot(forecast: Forecast, as_of: int) -> int:
    return (as_of // forecast.slot_us + 1) * forecast.slot_us


def _next_look(forecast: Forecast, as_of: int, auction_key: bytes) -> int:
    """In the next slot, once its forecasts can be there; shortly, where those of this slot are still to come.

    Spread by the auction's key, so that held tasks don't wake together.
    """
    settle = forecast.slot_us // _SETTLE
    begin, width = _next_slot(forecast, as_of), forecast.slot_us // _SPREAD
    if not _is_fresh(forecast, as_of):
        begin, width = as_of, settle
    spread = int.from_bytes(hashlib.sha256(auction_key + b"look").digest()[:8], "big") % max(1, width)
    return begin + settle + spread
