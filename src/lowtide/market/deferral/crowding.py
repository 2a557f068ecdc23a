"""Room for forced runs: where capacity is short, held tasks must not all come to their latest start at once."""

import numpy as np

from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.deferral.net import GUARD_US, PREEMPTIBLE
from lowtide.market.eligibility import LossReason, completion_p99_ms
from lowtide.market.offer import Capacity
from lowtide.market.spot import Spot
from lowtide.values.instants import MINUTE_US

_ABLE = (0, LossReason.NO_CAPACITY)


class Room:
    """What the rows that could serve a task as of now can carry, calls of its size that take as long as the slowest p99.

    Not `limited` where one of them states no limit: then nothing crowds. `service_us` is that p99.
    """

    def __init__(self, spot: Spot, as_of: int) -> None:
        able = np.isin(spot.reason, _ABLE)
        if spot.net is not None:  # what may be taken back is no room for a forced run
            able &= ~spot.book.on_lanes(PREEMPTIBLE)
        self.rows = frozenset(np.flatnonzero(able).tolist())
        p99 = completion_p99_ms(spot.book, spot.bids)
        self.service_us = max((1_000 * int(p99[row]) for row in self.rows), default=0)
        self._limits = [_limits(spot, row, as_of) for row in sorted(self.rows)]
        self.limited = self.service_us > 0 and (None, None) not in self._limits

    def calls(self, window_us: Ints) -> Ints:
        """How many calls can begin and end in windows so long, whole runs only."""
        found = np.zeros(len(window_us), dtype=np.int64)
        for at_once, a_minute in self._limits:
            bounds = [] if at_once is None else [at_once * (window_us // self.service_us)]
            bounds += [] if a_minute is None else [a_minute * window_us // MINUTE_US]
            found += np.minimum.reduce(bounds)
        return found

    def must_start(self, deadlines: Ints, as_of: int) -> int:
        """How many of the tasks with these deadlines (µs) have to start as of now, the earliest deadline first.

        All of the k earliest deadlines can still be met by runs that begin later where k calls fit before the last of
        them, with one run's time kept for a second try.
        """
        if not self.limited or not len(deadlines):
            return 0
        windows = np.maximum(0, np.sort(deadlines) - GUARD_US - self.service_us - as_of)
        return max(0, int((np.arange(1, len(windows) + 1) - self.calls(windows)).max()))


def _limits(spot: Spot, row: int, as_of: int) -> tuple[int | None, int | None]:
    """Calls at once and calls a minute, None for no limit; what a price in force sells less of holds beside the offer's."""
    stated = _stated(spot.book, row, as_of)
    tokens = max(1, at_row(spot.bids.input_tokens, row) + at_row(spot.bids.output_limit, row))
    a_minute = [one.requests_per_minute for one in stated if one.requests_per_minute is not None]
    a_minute += [one.tokens_per_minute // tokens for one in stated if one.tokens_per_minute is not None]
    at_once = [one.concurrency for one in stated if one.concurrency is not None]
    return min(at_once, default=None), min(a_minute, default=None)


def _stated(book: Book, row: int, as_of: int) -> list[Capacity]:
    quote = book.quote_at(row, as_of)
    sold = None if quote is None else quote.capacity
    return [book.rows[row].offer.capacity, *([] if sold is None else [sold])]
