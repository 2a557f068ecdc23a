"""Seasonal median: wait while a slot ahead was usually cheaper at its time of day than now is."""

import numpy as np

from lowtide.market.deferral.policy import Past, Trails, run_now
from lowtide.market.deferral.series import Floats, Series

_DAYS = 28


class SeasonalMedian:
    """C_r = least 28-day median, by slot of the day, of the next r slots."""

    name = "seasonal_median"
    needs_days = 3
    hears: tuple[str, ...] = ()

    def fit(self, past: Past, horizon: int) -> "_Model":
        series, day = past.series, past.series.slots_a_day
        recent = slice(max(0, len(series) - _DAYS * day), len(series))
        prices, clock = series.prices[recent], series.clock[recent]
        middle = np.array([np.median(prices[clock == slot]) for slot in range(day)])
        return _Model(middle, horizon)


class _Model:
    def __init__(self, middle: Floats, horizon: int) -> None:
        self._middle, self._horizon = middle, horizon

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        found = run_now(len(seen) - first, self._horizon)
        ahead = np.arange(first, len(seen))[:, None] + np.arange(1, self._horizon + 1)
        found[:, 1:] = np.minimum.accumulate(self._middle[seen.clock[ahead]], axis=1)
        return found
