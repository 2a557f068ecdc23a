"""The auction: `decide` is the one function that live service, replay, what-if, backtest and demo call."""

from typing import NamedTuple

import numpy as np

from lowtide.market.book import Book
from lowtide.market.deferral.batch_lane import BatchBid, batch_bid
from lowtide.market.deferral.by_forecast import wait_for_forecast
from lowtide.market.deferral.continuation import ForecastUse
from lowtide.market.deferral.known import Deferral, wait_for_known_price
from lowtide.market.deferral.spot_lane import over_net
from lowtide.market.eligibility import PASSING, LossReason, Reasons, for_good, passes, progress
from lowtide.market.rules import RULES
from lowtide.market.rules.payment import Standing
from lowtide.market.spot import TOP, Inputs, RankedBid, Spot, clear
from lowtide.market.task import Task
from lowtide.values.instants import MINUTE_US

CORE = 2
"""Raised when the same inputs decide otherwise than before."""
AWARDED, HELD, QUEUED, UNFILLED = "awarded", "held", "queued", "unfilled"
QUEUE_US = MINUTE_US
"""How long a task without a deadline waits for a bid, unless set otherwise."""
NO_OFFERS = "no_offers"
_UNKNOWN_NOW = [int(reason) for reason in PASSING - {LossReason.CIRCUIT_OPEN, LossReason.NO_CAPACITY}]
_OUTBID = np.array(LossReason.OUTBID, dtype=np.int8)


class Decision(NamedTuple):
    """What was decided, and everything that a record keeps of it.

    `top`: the best bids still in, by rank (failover runs down this list). `reasons`: one int8 a row, 0 for the winner,
    and for all that are still in where the task is held. `code` is what decided a queued or unfilled task, `nearest`
    the row that came closest; `batch` says how a batch that won is rescued, `forecasts` which were weighed. Money in
    nano-USD, `price_nano` what the winner is paid for the expected usage.
    """

    outcome: str
    winner: RankedBid | None
    price_nano: int | None
    rule: str
    thin: bool
    top: tuple[RankedBid, ...]
    reasons: Reasons
    deferral: Deferral | None
    code: str | None
    nearest: int | None
    spot: Spot
    batch: BatchBid | None = None
    forecasts: tuple[ForecastUse, ...] = ()


def decide(task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes) -> Decision:
    """Award the task to the best bid, hold it for a better price to come, queue it, or say nobody can.

    Pure: the same arguments give the same decision on any machine. `as_of` in µs UTC.
    """
    spot = clear(task, book, inputs, as_of, auction_key)
    if spot.net is not None:
        spot = over_net(task, book, inputs, as_of, auction_key, spot, spot.net)
    if task.constraints.complete_by is None or not inputs.may_wait:
        return _at_once(task, book, inputs, spot)
    weighed: tuple[ForecastUse, ...] = ()
    deferral = wait_for_known_price(task, book, inputs, as_of, auction_key, spot)
    if deferral is None:
        deferral, weighed = wait_for_forecast(task, book, inputs, as_of, auction_key, spot)
    batch = batch_bid(task, book, inputs, as_of, auction_key, spot) if inputs.batches else None
    if batch is not None and batch.value_nano > _otherwise(spot, deferral):
        decision = _award_batch(inputs, spot, batch)
    elif deferral is not None:
        decision = Decision(
            HELD, None, None, inputs.rule, False, spot.top, spot.reason, deferral, None, None, spot
        )
    else:
        decision = _at_once(task, book, inputs, spot)
    return decision._replace(forecasts=weighed) if weighed else decision


def _at_once(task: Task, book: Book, inputs: Inputs, spot: Spot) -> Decision:
    return _award(task, book, inputs, spot) if spot.top else _nobody(task, book, inputs, spot)


def _award(task: Task, book: Book, inputs: Inputs, spot: Spot) -> Decision:
    winner = spot.top[0]
    offer = book.rows[winner.row].offer
    rule = inputs.rule if offer.settles and offer.id != task.objective.fallback else "posted"
    payment = RULES[rule](
        Standing(
            winner.bid_nano,
            winner.worst_nano,
            winner.score_nano,
            spot.top[1].score_nano if len(spot.top) > 1 else None,
            spot.reserve_nano,
            task.constraints.max_cost_nano,
        )
    )
    return Decision(
        AWARDED,
        winner,
        payment.price_nano,
        rule,
        payment.thin,
        spot.top,
        losing(spot, winner),
        None,
        None,
        None,
        spot,
    )


def _otherwise(spot: Spot, deferral: Deferral | None) -> int:
    """The value of running now, or of the slot that is waited for."""
    now = spot.top[0]
    return now.score_nano if deferral is None else now.score_nano + now.bid_nano - deferral.reservation_nano


def _award_batch(inputs: Inputs, spot: Spot, batch: BatchBid) -> Decision:
    """The batch bid wins at its own price; the other lanes' bids stand behind it, for the rescue."""
    winner = batch.ranked
    reasons: Reasons = np.where(spot.reason == 0, _OUTBID, spot.reason)
    reasons[winner.row] = 0
    top = (winner, *spot.top[: TOP - 1])
    return Decision(
        AWARDED, winner, winner.bid_nano, "posted", False, top, reasons, None, None, None, spot, batch
    )


def losing(spot: Spot, winner: RankedBid) -> Reasons:
    """Every row's one reason once the winner is known: the others still in are outbid or lost the tie."""
    still_in = spot.reason == 0
    final: Reasons = still_in.view(np.int8) * _OUTBID
    final += spot.reason
    if len(spot.top) > 1 and spot.top[1].score_nano == winner.score_nano:
        final[still_in & (spot.score == winner.score_nano)] = LossReason.LOST_TIE
    final[winner.row] = 0
    return final


def _nobody(task: Task, book: Book, inputs: Inputs, spot: Spot) -> Decision:
    """Queued if some reason passes with time, else unfilled; decided by the reason of the bid that came furthest.

    A price that is missing or held back, or a bidder that is silent, is nothing to wait for where the offer could not
    serve the task anyway.
    """
    has_deadline = task.constraints.complete_by is not None
    if not len(spot.reason):
        return Decision(UNFILLED, None, None, "posted", False, (), spot.reason, None, NO_OFFERS, None, spot)
    never = for_good(task, book, inputs.closed_lanes)
    true = np.where((never > 0) & np.isin(spot.reason, _UNKNOWN_NOW), never, spot.reason)
    present = np.unique(true).tolist()
    waiting = [reason for reason in present if passes(reason, has_deadline=has_deadline)]
    decided = max(waiting or present, key=progress)
    rows = np.flatnonzero(true == decided)
    nearest = int(rows[np.argmin(spot.bids.expected[rows])])
    return Decision(
        QUEUED if waiting else UNFILLED,
        None,
        None,
        "posted",
        False,
        (),
        spot.reason,
        None,
        LossReason(decided).code,
        nearest,
        spot,
    )
