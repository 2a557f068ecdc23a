"""What an offer can carry in the slots of a round, in requests, and what others are expected to take of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lowtide.exchange.market import Market
from lowtide.market.bid import at_row, bids
from lowtide.market.book import Book
from lowtide.market.clearing.arrays import Ints
from lowtide.market.clearing.arrivals import coming_arrivals, taken_off
from lowtide.market.clearing.instance import request_slots
from lowtide.market.eligibility import answer_ms
from lowtide.market.offer import Capacity
from lowtide.market.task import Task
from lowtide.store import attempts, capacity, tasks
from lowtide.values.instants import HOUR_US, MINUTE_US

LOOK_BACK_US = HOUR_US
"""Arrivals of so long are taken for what is to come."""
PARTS = 10
"""Arrivals are expected in tenths."""


class Wants(Protocol):
    """A task and where its own rule would have it run: (offer id, when)."""

    @property
    def task(self) -> Task:
        """The task."""
        ...

    @property
    def wants(self) -> tuple[str, int]:
        """Where and when."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """An offer's requests by slot, how many can start at once now, and whether more want some slot than it carries."""

    capacity: Ints
    free: int
    contended: bool


def limits_of(book: Book, row: int, at: int) -> Capacity | None:
    """The limits of an offer at an instant (µs), those of the price in force where they are tighter; None without any."""
    stated, quote = book.rows[row].offer.capacity, book.quote_at(row, at)
    priced = Capacity() if quote is None or quote.capacity is None else quote.capacity
    both = Capacity(
        _least(stated.concurrency, priced.concurrency),
        _least(stated.requests_per_minute, priced.requests_per_minute),
        _least(stated.tokens_per_minute, priced.tokens_per_minute),
    )
    return None if both == Capacity() else both


def carried(limits: Capacity, length_us: int, service_us: int, tokens: int) -> int:
    """Requests that the limits let through in so long (µs), each of a service time (µs) and so many tokens.

    Raises ValueError where nothing is limited.
    """
    most = []
    if limits.concurrency is not None:
        most.append(request_slots(limits.concurrency, length_us, service_us))
    if limits.requests_per_minute is not None:
        most.append(limits.requests_per_minute * length_us // MINUTE_US)
    if limits.tokens_per_minute is not None:
        most.append(limits.tokens_per_minute * length_us // MINUTE_US // max(tokens, 1))
    return min(most)


async def held_rooms(
    market: Market, book: Book, wanting: Sequence[Wants], starts: Sequence[int], slot_us: int
) -> dict[str, Room]:
    """The room of each offer that is wanted, for the mean service time of the tasks that want it."""
    by_offer = defaultdict[str, list[Wants]](list)
    for one in wanting:
        by_offer[one.wants[0]].append(one)
    found = {}
    async with market.database.read() as conn:
        for offer_id, its in by_offer.items():
            row, counted = book.row_of[offer_id], await capacity.get(conn, offer_id)
            service_us, tokens = _usual(book, row, [one.task for one in its])
            room = _by_slot(book, row, starts, slot_us, service_us, tokens)
            taken = 0 if counted is None else counted.in_flight
            room[0] = max(0, room[0] - taken)
            now = limits_of(book, row, starts[0])
            most = [None if now is None else now.concurrency, None if counted is None else counted.usable]
            places = min((one for one in most if one is not None), default=int(room[0]) + taken)
            wanted = _demand([one.wants[1] for one in its], starts)
            found[offer_id] = Room(room, max(0, places - taken), bool((wanted > room).any()))
    return found


def others_rooms(book: Book, rows: Sequence[int], starts: Sequence[int], tasks_held: int) -> list[Ints]:
    """What the other offers are taken to carry: all that is held, since nothing shows that they are contended."""
    return [np.full(len(starts), tasks_held, np.int64) for _ in rows]


async def forced_by_slot(market: Market, offer_ids: Sequence[str], room: Ints, starts: Sequence[int]) -> Ints:
    """What arrivals that cannot wait are expected to take, by offer and slot: as many as came lately, and what is queued.

    What can wait is held when it comes, and takes part in the next round.
    """
    slots, slot_us = len(starts), starts[-1] - starts[-2]
    async with market.database.read() as conn:
        came = await attempts.unheld_since(conn, offer_ids, starts[0] - LOOK_BACK_US)
        queued = await tasks.queued_for(conn, offer_ids)
    forced = np.zeros((len(offer_ids), slots), np.int64)
    for number, offer_id in enumerate(offer_ids):
        rate = np.full((slots, 1), came.get(offer_id, 0) * slot_us / LOOK_BACK_US)
        coming = coming_arrivals(rate, PARTS).diagonal()
        forced[number] = taken_off(coming, PARTS, room[number : number + 1])[0]
        forced[number, 0] += queued.get(offer_id, 0)
    return forced


def _usual(book: Book, row: int, its: Sequence[Task]) -> tuple[int, int]:
    """The mean service time (µs) and tokens of tasks at an offer, at least 1."""
    prices, columns, took, used = book.prices_at(0), book.columns, 0, 0
    sample = its[:: max(1, len(its) // 64)]
    for task in sample:
        costs = bids(task, book, prices)
        took += at_row(answer_ms(columns.first_token_p50, costs.expected_output, columns.us_per_token), row)
        used += at_row(costs.input_tokens, row) + at_row(costs.output_limit, row)
    return max(1, 1_000 * took // len(sample)), max(1, used // len(sample))


def _by_slot(book: Book, row: int, starts: Sequence[int], slot_us: int, service_us: int, tokens: int) -> Ints:
    found = np.zeros(len(starts), np.int64)
    for slot, start in enumerate(starts):
        limits = limits_of(book, row, start)
        length = slot_us - start % slot_us
        if limits is not None:
            found[slot] = carried(limits, length, service_us, tokens)
        else:
            # The price of this slot lifts the limits that another states.
            found[slot] = np.iinfo(np.int32).max
    return found


def _demand(instants: Sequence[int], starts: Sequence[int]) -> Ints:
    """How many want each slot; what is past wants the slot of now, what lies beyond the last is not counted."""
    slot = np.searchsorted(np.array(starts), np.array(instants), side="right") - 1
    end = 2 * starts[-1] - starts[-2]
    slot = slot[np.array(instants) < end]
    return np.bincount(np.maximum(slot, 0), minlength=len(starts)).astype(np.int64)


def _least(own: int | None, other: int | None) -> int | None:
    if own is None or other is None:
        return own if other is None else other
    return min(own, other)
