"""Longstaff–Schwartz: regress what waiting would have cost, slot by slot back from the deadline.

Source: Longstaff, Schwartz (2001), Valuing American options by simulation; here on the series' own past.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.features import LEARNED_FROM_DAYS, see
from lowtide.market.deferral.policy import Past, Trails
from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.ridge import Coefficients, Ridge
from lowtide.market.deferral.series import Floats, Series

_QUANTILES = (np.arange(15) + 0.5) / 15


class LongstaffSchwartz:
    """C_r = mean over 15 residual quantiles ε of s·sinh(ℓ + ŷ_r + ε), ŷ_r the regression of V_{r−1} a slot later."""

    name = "longstaff_schwartz"
    needs_days = LEARNED_FROM_DAYS
    hears: tuple[str, ...] = ()

    def fit(self, past: Past, horizon: int) -> "StoppingModel":
        return StoppingModel.fitted(past.series, past.ridge(curved=True), horizon)


@dataclass(frozen=True, slots=True)
class StoppingModel:
    """Coefficients and residual quantiles for each number of slots left."""

    ridge: Ridge
    coefficients: list[Coefficients]
    errors: list[Floats]

    @classmethod
    def fitted(cls, past: Series, ridge: Ridge, horizon: int) -> "StoppingModel":
        prices = past.prices[ridge.first :]
        known, level = ridge.rows, ridge.seen.level
        scale = ridge.scale
        coefficients, errors = [], []
        later = prices[1:]
        for _ in range(horizon):
            # later[t] = V_{r−1}(t + 1)
            target = scale.of(later) - level[: len(later)]
            fit = ridge.solve(target[:known, None])
            guess = ridge.known(fit)[: len(later), 0]
            quantiles = np.quantile((target - guess)[:known], _QUANTILES)
            coefficients.append(fit)
            errors.append(quantiles)
            goes_on = _mean_price(scale.back, level[: len(later)] + guess, quantiles)
            value = np.where(prices[: len(later)] <= goes_on, prices[: len(later)], later)
            later = value[1:]
        return cls(ridge, coefficients, errors)

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        """See `Model`."""
        now = see(seen, self.ridge.scale, first, len(seen))
        found = np.full((len(now.level), len(self.errors) + 1), RUN_NOW)
        for left, (fit, quantiles) in enumerate(zip(self.coefficients, self.errors, strict=True), start=1):
            guess = self.ridge.predict(now, fit)[:, 0]
            found[:, left] = _mean_price(self.ridge.scale.back, now.level + guess, quantiles)
        return found


def _mean_price(back: Callable[[Floats], Floats], centre: Floats, errors: Floats) -> Floats:
    return np.asarray(back(centre[:, None] + errors).mean(axis=1))
