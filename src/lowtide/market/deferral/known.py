"""Waiting for a price that is already posted: tariffs and forward quotes are exact knowledge."""

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from lowtide.market.book import Book
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.deferral.safety import latest_start, rescue_fits
from lowtide.market.spot import Inputs, RankedBid, Spot, clear
from lowtide.market.task import Task
from lowtide.values.instants import MINUTE_US, SECOND_US

POLICY = "known_price"
SPOT_RETURN = "spot_return"
"""Waiting for an offer that took the task back, and may be asked again."""
FREE_PLACE = "free_place"
"""Waiting for an offer that is only full for a moment."""
AGAIN = (SPOT_RETURN, FREE_PLACE)
"""Policies by which a task asks the same offer again and again; a further time is nothing new."""
_MOST_SPREAD_US = 10 * MINUTE_US
_STEPS_TOLD = 48


@dataclass(frozen=True, slots=True)
class Deferral:
    """A decision to wait. Instants in µs, money in nano-USD.

    `reservation_nano`: a bid of today's winner at or under it would end the wait. `price_now_nano` is None where
    nobody can serve now. `forecast`: the digest of the one that is relied on, None where prices are known.
    """

    policy: str
    slot: int
    row: int
    price_now_nano: int | None
    expected_nano: int
    reservation_nano: int
    release_at: int
    latest_start: int
    forecast: str | None = None


@dataclass(frozen=True, slots=True)
class _Slot:
    at: int
    ends: int
    returns: bool
    best: RankedBid
    value_nano: int
    latest: int


def wait_for_known_price(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot
) -> Deferral | None:
    """The cheapest admissible slot among the posted price steps, if it beats running now and a rescue will fit.

    A slot's value is the best score there less what waiting costs (`per_second`). None: run now, or queue.
    """
    slot = _best_slot(task, book, inputs, as_of, auction_key, spot)
    if slot is None:
        return None
    if spot.top:
        if slot.value_nano <= spot.top[0].score_nano:
            return None
        spot_then = clear(task, book, later(inputs), slot.latest, auction_key)
        if not rescue_fits(task, book, inputs, slot.latest, spot, spot_then):
            return None
    elif _only_full(task, book, inputs, as_of, auction_key, slot):
        return None
    now = spot.top[0] if spot.top else None
    reservation = slot.best.bid_nano if now is None else now.bid_nano - (slot.value_nano - now.score_nano)
    return Deferral(
        _policy(book, slot),
        slot.at,
        slot.best.row,
        None if now is None else now.bid_nano,
        slot.best.bid_nano,
        reservation,
        slot.at + _spread(task, slot, auction_key, as_of),
        slot.latest,
    )


def _policy(book: Book, slot: _Slot) -> str:
    if not slot.returns:
        return POLICY
    return SPOT_RETURN if book.rows[slot.best.row].offer.lane in PREEMPTIBLE else FREE_PLACE


def _only_full(task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, slot: _Slot) -> bool:
    """Whether the task would run now, were a place free: then it queues for the place instead of a later slot."""
    if not inputs.refused:
        return False
    free = clear(task, book, replace(inputs, refused=()), as_of, auction_key)
    return bool(free.top) and free.top[0].score_nano >= slot.value_nano


class TooLateSlot(NamedTuple):
    """A better posted price that comes after the latest start. Instants in µs."""

    at: int
    best: RankedBid
    latest_start: int


def slot_after_latest_start(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot
) -> TooLateSlot | None:
    """The first posted step before the deadline that would be better, but starts too late to be safe; for explanations."""
    latest = latest_start(task, book, spot)
    if latest is None or task.constraints.complete_by is None:
        return None
    for at in book.steps_between(max(latest, as_of), task.constraints.complete_by)[:_STEPS_TOLD]:
        # Asked without the deadline, which rules out what starts after the latest start.
        patient = replace(task, constraints=replace(task.constraints, complete_by=None))
        then = clear(patient, book, later(inputs), at, auction_key)
        if then.top and then.top[0].score_nano - waiting_cost(task, at - as_of) > spot.top[0].score_nano:
            return TooLateSlot(at, then.top[0], latest)
    return None


def _best_slot(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot
) -> _Slot | None:
    complete_by = task.constraints.complete_by
    if complete_by is None:
        return None
    latest_now = latest_start(task, book, spot)
    end = complete_by if latest_now is None else latest_now
    steps = book.steps_between(as_of, end)
    if inputs.resting:
        steps = sorted({*steps, *(until for _, until in inputs.resting if as_of < until <= end)})
    best: _Slot | None = None
    for index, at in enumerate(steps):
        then = clear(task, book, later(inputs), at, auction_key)
        own = latest_start(task, book, then)
        latest = own if latest_now is None else latest_now
        # Who is best in the slot may be slower than who is best now: a second try must fit after it too.
        if own is None or latest is None or at > min(own, latest):
            continue
        value = then.top[0].score_nano - waiting_cost(task, at - as_of)
        if best is None or value > best.value_nano:
            ends = min(steps[index + 1], latest) if index + 1 < len(steps) else latest
            best = _Slot(at, ends, (then.top[0].row, at) in inputs.resting, then.top[0], value, latest)
    return best


def later(inputs: Inputs) -> Inputs:
    """Places that are full now will have freed by then, and a live bid is for now: later the standing quotes hold."""
    return replace(inputs, refused=(), live=(), closes_at=None)


def waiting_cost(task: Task, wait_us: int) -> int:
    """What so long a wait (µs) costs the requester, nano-USD, rounded up."""
    return -(-task.objective.per_second_nano * wait_us // SECOND_US)


def _spread(task: Task, slot: _Slot, auction_key: bytes, as_of: int) -> int:
    """A tenth of the slot at most, by the auction's key, so that held tasks don't wake together; none if time costs."""
    width = min((slot.ends - slot.at) // 10, _MOST_SPREAD_US)
    if slot.returns:
        width = min(width, slot.at - as_of)
    if task.objective.per_second_nano or width <= 0:
        return 0
    return int.from_bytes(hashlib.sha256(auction_key + b"release").digest()[:8], "big") % width
