"""Simple causal forecasts for trials of capacity; the market's own are in `lowtide.market.deferral`."""

from dataclasses import dataclass

import numpy as np

from benchmarks.capacity_trial import DAY, LONGEST, MONTH, Floats, Forecast
from lowtide.market.deferral.clock_path import ClockPath

_BINS = 12


def by_clock(price: Floats) -> ClockPath:
    """The core's profile by hour and AR(1) on what is left, on an hourly trace whose first slot is midnight."""
    return ClockPath(price, np.arange(len(price)) % DAY, DAY)


def posted(price: Floats, beyond: Forecast, hours: int = DAY) -> Forecast:
    """Prices posted ahead for the next hours, this one included; what lies beyond is forecast."""

    def at(slot: int, slots: int) -> Floats:
        expected = beyond(slot, slots)
        known = price[slot : slot + min(hours, slots)]
        expected[: len(known)] = known
        return expected

    return at


@dataclass
class MarkovStopping:
    """Reservation prices by slots left: optimal stopping on profile + 12 states of the residual; refitted daily.

    28-day median by hour; transitions with +0.5/12 smoothing.
    """

    price: Floats

    def __post_init__(self) -> None:
        self._day = -1

    def __call__(self, slot: int) -> Floats:
        """By slots left the price at or under which a task starts; the last slot takes any."""
        if slot // DAY != self._day:
            self._day = slot // DAY
            self._refit(slot // DAY * DAY)
        now = self.price[slot] - self._usual[slot % DAY]
        state = int(np.searchsorted(self._edges, now))
        return np.concatenate([[np.inf], self._ahead[:, slot % DAY, state]])

    def _refit(self, until: int) -> None:
        at = np.arange(max(0, until - MONTH), until)
        self._usual = np.array([np.median(self.price[at][at % DAY == hour]) for hour in range(DAY)])
        left = self.price[at] - self._usual[at % DAY]
        self._edges = np.quantile(left, np.arange(1, _BINS) / _BINS)
        state = np.searchsorted(self._edges, left)
        seen = np.bincount(state, minlength=_BINS)
        middle = np.bincount(state, left, _BINS) / np.maximum(seen, 1)
        moves = np.full((_BINS, _BINS), 0.5 / _BINS)
        np.add.at(moves, (state[:-1], state[1:]), 1)
        moves /= moves.sum(axis=1, keepdims=True)
        price = self._usual[:, None] + middle
        value, ahead = price, []
        for _ in range(1, LONGEST):
            waiting = np.roll(value, -1, axis=0) @ moves.T
            ahead.append(waiting)
            value = np.minimum(price, waiting)
        self._ahead = np.array(ahead)
