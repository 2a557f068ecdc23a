"""One task's bids at one instant: costs, reasons, scores, and the ten best in order."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from lowtide.market.batch_times import BatchTimes
from lowtide.market.bid import Bids, bids
from lowtide.market.book import Book
from lowtide.market.columns import Bools, Ints, PriceColumns
from lowtide.market.deferral.continuation import ForecastUse
from lowtide.market.deferral.net import Net, keep_net
from lowtide.market.deferral.progress import JobProgress
from lowtide.market.eligibility import LossReason, Reasons, reasons
from lowtide.market.live import LiveBid, with_bids
from lowtide.market.scoring import reserve, scores
from lowtide.market.task import Task

TOP = 10


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a decision rests on besides task and book. Absent means the behaviour before it existed.

    `rule` is how winners that settle through us are paid; `refused` are rows whose reservation failed;
    `reference_cost_nano` is the task type's trailing median price, 0 until 20 are known. `live` is what bidders answered,
    `closes_at` (µs) the instant from which on an answer is too late. Offers on `closed_lanes` cannot be called,
    except that a batch lane takes part beside them where `batches` says how long its provider's take. `forecasts`
    are of offers' prices, for tasks that may wait; a record keeps those that were weighed. Where there would be no room
    for one more forced run (`crowding.py`), the task may not wait. On `preemptible` lanes a call may be taken back, so a
    task with a deadline goes there only over a net; `resting` are rows that took this task back, or were full, and until
    when (µs) they are left alone; `job` is how far the job is that it is part of.
    `back_by` (µs) is when a call must be back from there so that its safe run still finds room beside the others'
    (`crowding.py`).
    """

    rule: str = "posted"
    refused: tuple[int, ...] = ()
    reference_cost_nano: int = 0
    live: tuple[LiveBid, ...] = ()
    closes_at: int | None = None
    closed_lanes: tuple[str, ...] = ()
    batches: tuple[BatchTimes, ...] = ()
    forecasts: tuple[ForecastUse, ...] = ()
    may_wait: bool = True
    preemptible: tuple[str, ...] = ()
    resting: tuple[tuple[int, int], ...] = ()
    job: JobProgress | None = None
    back_by: int | None = None


class RankedBid(NamedTuple):
    """A bid still in, by rank: row, score, expected and worst cost (nano-USD)."""

    row: int
    score_nano: int
    bid_nano: int
    worst_nano: int


class Spot(NamedTuple):
    """The state of one auction before it is decided. `reason` is 0 for bids still in.

    `book` is what it was decided on: the version itself, or where bidders were asked, that with their bids in it.
    `net` catches the task where a spot call is taken back; None where it has no deadline, or no lane is spot.
    """

    prices: PriceColumns
    bids: Bids
    reason: Reasons
    score: Ints
    reserve_nano: int | None
    top: tuple[RankedBid, ...]
    book: Book
    net: Net | None = None


def clear(task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes) -> Spot:
    """Cost, judge, score and rank every bid for a task at an instant (µs)."""
    failed: dict[int, LossReason] = {}
    if inputs.live:
        book, failed = with_bids(task.domain, book, inputs.live, inputs.closes_at, as_of)
    prices = book.prices_at(as_of)
    costs = bids(task, book, prices)
    refused = (*inputs.refused, *(row for row, until in inputs.resting if until > as_of))
    reason = reasons(task, book, prices, costs, as_of, refused, inputs.closed_lanes)
    for row, code in failed.items():
        if reason[row] == 0 or reason[row] > LossReason.QUOTE_QUARANTINED:
            reason[row] = code
    score = scores(task, book, costs, inputs.reference_cost_nano)
    least = reserve(task, book, score, reason)
    if least is not None:
        reason[(score < least) & (reason == 0)] = LossReason.BELOW_RESERVE
    net = None
    if inputs.preemptible:
        net = keep_net(
            task, book, costs, reason, score, inputs.preemptible, inputs.job, as_of, inputs.back_by
        )
    top = _top(book, costs, reason, score, auction_key)
    return Spot(prices, costs, reason, score, least, top, book, net)


def without(spot: Spot, rows: Bools, why: LossReason, auction_key: bytes) -> Spot:
    """The auction without the bids of some rows, which lose for that reason."""
    reason = spot.reason.copy()
    reason[rows & (reason == 0)] = why
    return spot._replace(reason=reason, top=_top(spot.book, spot.bids, reason, spot.score, auction_key))


def _top(book: Book, costs: Bids, reason: Reasons, score: Ints, auction_key: bytes) -> tuple[RankedBid, ...]:
    rows = best_rows(book, reason, score, auction_key, TOP)
    columns = map(score.item, rows), map(costs.expected.item, rows), costs.worst_of_rows(rows)
    return tuple(map(RankedBid, rows, *columns))


def best_rows(book: Book, reason: Reasons, score: Ints, auction_key: bytes, count: int) -> list[int]:
    """The rows still in with the highest scores, best first; equal scores in order of `tie_hash`."""
    rows = (reason == 0).nonzero()[0]
    offered = score.take(rows)
    if len(rows) > count:
        ordered = offered.copy()
        ordered.partition(-count)
        best = (offered >= ordered[-count]).nonzero()[0]
        rows, offered = rows.take(best), offered.take(best)
    ranked = sorted(zip(offered.tolist(), rows.tolist(), strict=True), reverse=True)
    if len({value for value, _ in ranked}) < len(ranked):
        ranked.sort(key=lambda bid: (-bid[0], tie_hash(auction_key, book.rows[bid[1]].offer.id)))
    return [row for _, row in ranked[:count]]


def tie_hash(auction_key: bytes, offer_id: str) -> bytes:
    """SHA-256(auction_key ‖ offer_id): the smaller wins a tie. Never arrival, never id order."""
    return hashlib.sha256(auction_key + offer_id.encode()).digest()
