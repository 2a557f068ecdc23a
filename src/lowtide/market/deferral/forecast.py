"""Making forecasts of one pool's price from its history, and telling how they did.

Floats end here: a price is at or under a continuation value iff it is at or under that value rounded down.
"""

from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.backtest import MIXTURE, experts_for, values_of
from lowtide.market.deferral.continuation import Forecast
from lowtide.market.deferral.policies.forecast_path import PathModel
from lowtide.market.deferral.replay import clairvoyant, costs
from lowtide.market.deferral.series import Floats, Series
from lowtide.market.deferral.track import Track

_SCORED_DAYS = 28
_MOST_NANO = 2**53 - 1
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Score:
    """What the forecast's policy did on the windows of the last 28 days that have closed.

    `captured`: share of the clairvoyant's saving; `saved`: share of the cost of running at once. None where there was
    nothing to save, or no window yet.
    """

    tasks: int
    captured: float | None
    saved: float | None


class Forecaster:
    """One pool's mixture, carried on with its prices. Pure: it is told the series and the instant.

    `extend` does the heavy work, at most one fit of every expert in a call with `one_fit`; the rest is milliseconds.
    """

    def __init__(self, pool: str, series: Series, horizon: int) -> None:
        """`series`: the pool's prices so far, nano-USD, one a slot; `horizon`: longest slack in slots, a day at most."""
        self._pool = pool
        self._series = series
        self._track = Track(experts_for(series), horizon)
        self._values: dict[int, Floats] = {}

    def extend(self, series: Series, one_fit: bool = False) -> bool:
        """Take over the series with its newest prices; whether all of it is done (call again if not)."""
        self._series, self._values = series, {}
        return self._track.step(series) if one_fit else self._track.extend(series)

    def forecast(self, slack: int, made_at: int) -> Forecast:
        """For a task that came with `slack` slots, from the newest price on. Run at once while history is too short."""
        newest = self._newest(slack)[1:]
        known = () if not np.isfinite(newest).all() else tuple(_whole(value) for value in newest)
        return Forecast(self._pool, MIXTURE, made_at, self._series.slot_us, slack, known)

    def score(self, slack: int) -> Score:
        """How the forecasts for this slack did."""
        return score_of(self._series.until(self._track.slots), self.values(slack), slack)

    def path(self) -> tuple[tuple[int, int, int], ...]:
        """10 %, 50 % and 90 % quantiles of the price, whole numbers, of each slot up to the horizon; empty if not known."""
        model = self._track.model("forecast_path")
        if not isinstance(model, PathModel):
            return ()
        found = model.quantiles(self._series.until(self._track.slots), QUANTILES)
        return tuple((_whole(low), _whole(middle), _whole(high)) for low, middle, high in found.tolist())

    def _newest(self, slack: int) -> Floats:
        found = self.values(slack)
        return found[-1] if len(found) else np.full(slack + 1, np.inf)

    def values(self, slack: int) -> Floats:
        """Continuation values of every slot so far, [slots, slack + 1], as they would have been then."""
        if slack not in self._values:
            seen = self._series.until(self._track.slots)
            self._values[slack] = values_of(seen, self._track, MIXTURE, slack)
        return self._values[slack]


def score_of(series: Series, values: Floats, slack: int) -> Score:
    """How tasks of a slack would have done by these continuation values, of which each slot has its own."""
    done = len(values)
    span = slice(max(0, done - slack - _SCORED_DAYS * series.slots_a_day), max(0, done - slack))
    paid = costs(series.prices, values)[span, slack]
    least, now = clairvoyant(series.prices, slack)[span].sum(), series.prices[span].sum()
    saved, most = float(now - paid.sum()), float(now - least)
    return Score(len(paid), saved / most if most > 0 else None, saved / float(now) if now > 0 else None)


def _whole(value: float) -> int:
    return int(np.clip(np.floor(value), -_MOST_NANO, _MOST_NANO))
