"""Robust clip: the advice of Markov stopping, held within bounds that no bad advice can leave."""

import numpy as np

from lowtide.market.deferral.policies.k_search import trailing_bounds
from lowtide.market.deferral.policy import Past, Trails, run_now
from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.series import Floats, Series

_TRUST = 0.75


class RobustClip:
    """C = clip(advice, U/ρ, ρL), ρ = (U/L)^0.75; L and U are the 28-day 5 % and 95 % quantiles."""

    name = "robust_clip"
    needs_days = 7
    hears: tuple[str, ...] = ("markov_median",)

    def fit(self, past: Past, horizon: int) -> "_Model":
        return _Model(*trailing_bounds(past.series), horizon)


class _Model:
    def __init__(self, low: float, high: float, horizon: int) -> None:
        self._low, self._high, self._horizon = low, high, horizon

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        if self._low <= 0:
            return run_now(len(seen) - first, self._horizon)
        trust = (self._high / self._low) ** _TRUST
        advice = trails[RobustClip.hears[0]][first : len(seen)]
        found = np.clip(advice, self._high / trust, trust * self._low)
        found[:, 0] = RUN_NOW
        return found
