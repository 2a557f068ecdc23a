"""The prices that a plan reckons with: posted ones exactly, those beyond by what three forecasts say together."""

from collections.abc import Callable

import numpy as np

from lowtide.market.deferral.clock_path import ClockPath
from lowtide.market.deferral.policies.forecast_path import PathModel
from lowtide.market.deferral.series import Floats, Series
from lowtide.market.deferral.track import Track

LEARNED_PATHS = ("forecast_path", "forecast_path_linear")

Ahead = Callable[[int, int], Floats]
"""(slot, S) gives the expected prices of slots t … t + S − 1, the first being the price now."""


class PricePaths:
    """At every slot the prices expected of those to come, from prices up to it alone.

    The mean, in asinh(price), of the clock's profile and of what both forecast paths of the track expect of a day ahead,
    where they have a say; beyond the day the profile alone.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        self._clock = ClockPath(series.prices, series.clock, series.slots_a_day)
        self._learned: dict[str, list[Floats]] = {name: [] for name in LEARNED_PATHS}
        self._slots = 0

    def carry_on(self, track: Track) -> None:
        """Take in what the track's models expected at the slots since the last call, fit by fit."""
        seen = self._series.until(track.slots)
        for name, found in self._learned.items():
            model = track.model(name)
            expected = np.full((track.slots - self._slots, track.horizon), np.nan)
            if isinstance(model, PathModel) and len(expected):
                expected = model.expected(seen, self._slots)
            found.append(expected)
        self._slots = track.slots

    def ahead(self, posted: int = 0) -> Ahead:
        """Expected prices, those of the next `posted` slots known; what lies beyond is expected from the last of them."""
        prices = self._series.prices
        learned = [np.concatenate(found) for found in self._learned.values() if found]

        def at(slot: int, slots: int) -> Floats:
            last = min(slot + posted, len(prices) - 1)
            known = prices[slot : min(last, slot + slots)]
            if len(known) == slots:
                return known
            return np.concatenate((known, self._expected(learned, last, slots - len(known))))

        return at

    def _expected(self, learned: list[Floats], slot: int, slots: int) -> Floats:
        expected = self._clock(slot, slots)
        scale = self._clock.fit(slot).scale
        said = [path[slot, : slots - 1] for path in learned]
        said = [path for path in said if len(path) and np.isfinite(path).all()]
        if said:
            within = slice(1, 1 + len(said[0]))
            comparable = np.arcsinh(np.stack((expected[within], *said)) / scale)
            expected[within] = scale * np.sinh(comparable.mean(axis=0))
        return expected
