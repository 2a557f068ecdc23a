"""Lanes against the clock: a batch that comes back some time, with a rescue on a synchronous lane before the deadline."""

from dataclasses import replace
from typing import NamedTuple

from lowtide.market.batch_times import BatchTimes
from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.deferral.safety import latest_start, rescue_fits
from lowtide.market.offer import LANES
from lowtide.market.spot import Inputs, RankedBid, Spot, clear
from lowtide.market.task import Task
from lowtide.values.instants import MINUTE_US, SECOND_US
from lowtide.values.money import ceil_div

BATCH = "batch"
LEAST_US = 10 * MINUTE_US
"""With less time than this until the rescue no batch is begun: what is not back by then was in vain."""
LEAST_DONE_PPM = 500_000
"""A batch that is more likely late than not is not begun: a seller may bill what it did while it was being cancelled."""
_PPM = 1_000_000
_OTHERS = tuple(lane for lane in LANES if lane != BATCH)


class BatchBid(NamedTuple):
    """The best batch bid for a task. `blended_nano` is what it costs with the rescue, each by its probability.

    `value_nano` is its score at that cost, less what waiting costs; `rescue_at` (µs) when the rescue begins.
    """

    ranked: RankedBid
    value_nano: int
    blended_nano: int
    done_ppm: int
    rescue_at: int


def batch_bid(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot
) -> BatchBid | None:
    """The batch bid of the highest value, where a rescue fits after it; None where there is none.

    `spot` is the auction of the other lanes: its winner is the rescue.
    """
    latest = latest_start(task, book, spot) if inputs.batches else None
    if latest is None or latest - as_of < LEAST_US or task.constraints.max_latency_ms is not None:
        return None
    times = {one.provider: one for one in inputs.batches}
    # Asked without the deadline: it is the rescue that keeps it.
    patient = replace(task, constraints=replace(task.constraints, complete_by=None))
    batches = replace(inputs, closed_lanes=_OTHERS, live=(), closes_at=None)
    offered = clear(patient, book, batches, as_of, auction_key).top
    safe = None if spot.net is None or spot.net.later else spot.net.row
    rescue_nano = spot.top[0].bid_nano if safe is None else at_row(spot.bids.expected, safe)
    found = [
        _blended(task, bid, known, rescue_nano, as_of, latest)
        for bid in offered
        if (known := times.get(book.rows[bid.row].offer.provider)) is not None
    ]
    likely = [one for one in found if one.done_ppm >= LEAST_DONE_PPM]
    best = max(likely, key=lambda one: one.value_nano, default=None)
    if best is None or not rescue_fits(
        task, book, inputs, latest, spot, clear(task, book, inputs, latest, auction_key)
    ):
        return None
    return best


def _blended(
    task: Task, bid: RankedBid, times: BatchTimes, rescue_nano: int, as_of: int, latest: int
) -> BatchBid:
    done = times.done_ppm(latest - as_of)
    blended = ceil_div(done * bid.bid_nano + (_PPM - done) * rescue_nano, _PPM)
    waiting = ceil_div(task.objective.per_second_nano * min(times.median_us, latest - as_of), SECOND_US)
    return BatchBid(bid, bid.score_nano + bid.bid_nano - blended - waiting, blended, done, latest)
