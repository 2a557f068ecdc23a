"""Room for forced runs: where places are few, held tasks must not all come to their latest start at once."""

import numpy as np

from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.deferral.net import GUARD_US, PREEMPTIBLE
from lowtide.market.eligibility import LossReason, completion_p99_ms
from lowtide.market.offer import Capacity
from lowtide.market.spot import Spot
from lowtide.values.instants import MINUTE_US

_ABLE = (0, LossReason.NO_CAPACITY)


class Room:
    """The rows that could serve a task as of now, how many calls they take at once together, and how long one takes.

    `places` is None where one of them has no limit: then nothing crowds. `service_us` is the slowest p99 of them.
    """

    def __init__(self, spot: Spot, as_of: int) -> None:
        able = np.isin(spot.reason, _ABLE)
        if spot.net is not None:  # what may be taken back is no room for a forced run
            able &= ~spot.book.on_lanes(PREEMPTIBLE)
        self.rows = frozenset(np.flatnonzero(able).tolist())
        p99 = completion_p99_ms(spot.book, spot.bids)
        self.service_us = max((1_000 * int(p99[row]) for row in self.rows), default=0)
        each = [_places(spot.book, row, as_of, self.service_us) for row in sorted(self.rows)]
        known = [places for places in each if places is not None]
        self.places = sum(known) if len(known) == len(each) else None

    def must_start(self, deadlines: Ints, as_of: int) -> int:
        """How many of the tasks with these deadlines (µs) have to start as of now, the earliest deadline first.

        Worked out as if each took the longest: of the k earliest deadlines all can still be met by runs that begin
        later where k is at most places × the whole runs that fit before the last of them, one kept for a second try.
        """
        if self.places is None or not self.service_us or not len(deadlines):
            return 0
        ends = np.sort(deadlines) - GUARD_US - self.service_us
        rounds = np.maximum(0, (ends - as_of) // self.service_us)
        return max(0, int((np.arange(1, len(ends) + 1) - self.places * rounds).max()))


def _places(book: Book, row: int, as_of: int, service_us: int) -> int | None:
    quote = book.quote_at(row, as_of)
    limits = [book.rows[row].offer.capacity, Capacity() if quote is None else quote.capacity or Capacity()]
    found = [limit.concurrency for limit in limits if limit.concurrency is not None]
    found += [
        limit.requests_per_minute * service_us // MINUTE_US
        for limit in limits
        if limit.requests_per_minute is not None
    ]
    return min(found, default=None)
