"""Forecasts of what the cheapest of some like offers will cost: used where they do better than its members' own.

Who can be served by any of several sellers waits for the best of them: the least of several prices is expected to be
lower than the least expected of them, and it moves in its own way.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lowtide.market.deferral.continuation import POOL, Forecast
from lowtide.market.deferral.forecast import Forecaster, Score, score_of
from lowtide.market.deferral.series import Floats, Series


def cheapest(prices: Sequence[Sequence[int]], most: int | None) -> Floats:
    """The least price of every slot, of series that end in the same one; where one had no price yet, of the others.

    `most` is what can be had at any time, from an offer whose price does not change.
    """
    found = np.full(max(map(len, prices)), np.inf if most is None else float(most))
    for one in prices:
        if len(one):
            found[-len(one) :] = np.minimum(found[-len(one) :], np.asarray(one, dtype=np.float64))
    return found


class PoolForecaster:
    """One pool's mixture beside those of its members, carried on with the least of their prices. Pure, as `Forecaster`."""

    def __init__(self, name: str, members: Sequence[Forecaster], series: Series, horizon: int) -> None:
        """`members` are told their newest prices before the pool is; `series` is that of `cheapest`."""
        self._members, self._series = members, series
        self._own = Forecaster(name, series, horizon)

    def extend(self, series: Series, one_fit: bool = False) -> bool:
        """Take over the series with its newest prices; whether all of it is done (call again if not)."""
        self._series = series
        return self._own.extend(series, one_fit)

    def forecast(self, slack: int, made_at: int) -> Forecast | None:
        """For a task that came with `slack` slots; None where the members' own forecasts have served the pool as well."""
        pooled, alone = self.scores(slack)
        if pooled.captured is None or alone.captured is None or pooled.captured <= alone.captured:
            return None
        return replace(self._own.forecast(slack, made_at), policy=POOL)

    def scores(self, slack: int) -> tuple[Score, Score]:
        """How tasks that any member may serve did with the pool's forecasts beside its members' own, and without."""
        alone = self._by_members(slack)
        pooled = np.minimum(alone, self._own.values(slack))
        return score_of(self._series, pooled, slack), score_of(self._series, alone, slack)

    def _by_members(self, slack: int) -> Floats:
        """A task waits while some member's forecast has it wait; one without history has none wait."""
        found = np.full((len(self._series), slack + 1), np.inf)
        for member in self._members:
            values = member.values(slack)
            found[len(found) - len(values) :] = np.minimum(found[len(found) - len(values) :], values)
        return found
