"""Simple causal forecasts for trials of capacity; the market's own are in `lowtide.market.deferral`."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.capacity_trial import DAY, LONGEST, MONTH, Floats, Forecast

_BINS = 12
_MOST_MEMORY = 0.99
_HALF_LIFE = 10 * DAY


class _Clock(NamedTuple):
    scale: float
    usual: Floats
    memory: float


@dataclass
class ClockForecast:
    """Profile by hour and AR(1) on what is left, of asinh(price ÷ median) over 28 days; refitted daily."""

    price: Floats

    def __post_init__(self) -> None:
        self._fits: dict[int, _Clock] = {}

    def __call__(self, slot: int, slots: int) -> Floats:
        """Expected prices of the next slots, the first being the price now."""
        fit = self._fit(slot // DAY * DAY)
        ahead = np.arange(slots)
        now = np.arcsinh(self.price[slot] / fit.scale) - fit.usual[slot % DAY]
        expected = fit.scale * np.sinh(fit.usual[(slot + ahead) % DAY] + fit.memory**ahead * now)
        expected[0] = self.price[slot]
        return expected

    def _fit(self, until: int) -> _Clock:
        if until not in self._fits:
            at = np.arange(max(0, until - MONTH), until)
            scale = max(float(np.median(np.abs(self.price[at]))), 1e-9)
            z, weight, hour = np.arcsinh(self.price[at] / scale), 0.5 ** ((until - at) / _HALF_LIFE), at % DAY
            usual = np.bincount(hour, z * weight, DAY) / np.bincount(hour, weight, DAY)
            left = z - usual[hour]
            memory = float(left[1:] @ left[:-1] / max(left[:-1] @ left[:-1], 1e-12))
            self._fits = {until: _Clock(scale, usual, min(max(memory, 0.0), _MOST_MEMORY))}
        return self._fits[until]


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
