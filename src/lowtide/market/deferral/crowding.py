"""Room for forced runs: where capacity is short, what waits or may be taken back must not all have to start at once."""

from typing import NamedTuple

import numpy as np

from lowtide.market.bid import at_row
from lowtide.market.book import Book
from lowtide.market.columns import Ints
from lowtide.market.deferral.net import GUARD_US, PREEMPTIBLE
from lowtide.market.eligibility import LossReason, completion_p99_ms
from lowtide.market.offer import Capacity
from lowtide.market.spot import Spot
from lowtide.values.instants import MINUTE_US
from lowtide.values.money import ceil_div

_ABLE = (0, LossReason.NO_CAPACITY)
_NOTHING: Ints = np.zeros(0, dtype=np.int64)


class Slot(NamedTuple):
    """Room that safe offers keep for one forced run, from `begin` until `until`; by `end` a second try is done too. µs."""

    begin: int
    until: int
    end: int


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

    def must_start(self, deadlines: Ints, as_of: int, others: Ints = _NOTHING) -> int:
        """How many of the tasks with these deadlines (µs) have to start as of now, the earliest deadline first.

        All of the k earliest deadlines can still be met by runs that begin later where k calls fit before the last of
        them, with one run's time kept for a second try. `others` are the deadlines of what
        takes room too, but cannot be started: it runs elsewhere, or waits for a place already.
        """
        if not self.limited or not len(deadlines):
            return 0
        every = np.concatenate([deadlines, others])
        order = np.argsort(every, kind="stable")
        too_many = np.arange(1, len(every) + 1) - self.calls(self._windows(every[order], as_of))
        able = np.cumsum(order < len(deadlines))
        return max(0, int(np.minimum(too_many, able).max()))

    def fits(self, deadline: int, others: Ints, as_of: int, counted_by: int | None = None) -> bool:
        """Whether one more run with this deadline (µs) leaves room for all of the others that end no sooner.

        One that counts already, with a later deadline `counted_by`, takes more room only from those that end before that.
        """
        if not self.limited:
            return True
        every = np.sort(np.append(others, deadline))
        first = int(np.searchsorted(every, deadline))
        end = len(every) if counted_by is None else int(np.searchsorted(every, counted_by))
        room = self.calls(self._windows(every[first:end], as_of))
        return bool((np.arange(first + 1, max(first, end) + 1) <= room).all())

    def slot_before(self, latest: int, begins: Ints, untils: Ints) -> Slot | None:
        """The last free slot for a run that begins by `latest`, beside those kept from `begins` to `untils` (µs).

        It may lie in the past: then there is none to come. None where nothing ever carries a call.
        """
        at_once, span_us = self._at_once()
        if not at_once:
            return None
        first = np.append(begins - span_us, latest)
        first = first[first <= latest]
        begun, over = np.searchsorted(np.sort(begins), first + span_us), np.sort(untils)
        beside = begun - np.searchsorted(over, first, "right")
        begin = int(first[beside < at_once].max())
        return Slot(begin, begin + span_us, begin + 2 * self.service_us + GUARD_US)

    def last_begin(self, complete_by: int) -> int:
        """The last instant (µs) at which a run may begin and, where it fails, a second one still finish."""
        return complete_by - 2 * self.service_us - GUARD_US

    def _windows(self, deadlines: Ints, as_of: int) -> Ints:
        return np.maximum(0, deadlines - GUARD_US - self.service_us - as_of)

    def _at_once(self) -> tuple[int, int]:
        """How many runs fit in a span of time, and the span: a run, or what rates allow one in."""
        among = int(self.calls(np.array([self.service_us]))[0])
        if among:
            return among, self.service_us
        rates = [rate for at_once, rate in self._limits if rate and at_once != 0]
        return (1, ceil_div(MINUTE_US, max(rates))) if rates else (0, self.service_us)


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
