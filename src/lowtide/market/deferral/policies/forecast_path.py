"""Forecast path: a day of prices ahead by ridge, with errors that carry over from lead to lead; then stopping."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.features import LEARNED_FROM_DAYS, see
from lowtide.market.deferral.policy import Past, Trails
from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.ridge import Coefficients, Ridge
from lowtide.market.deferral.series import Floats, Series

_BINS = 12
_SMOOTHING = 2.0


class ForecastPath:
    """On asinh(price): steadier where prices jump."""

    name = "forecast_path"
    needs_days = LEARNED_FROM_DAYS
    hears: tuple[str, ...] = ()
    curved = True

    def fit(self, past: Past, horizon: int) -> "PathModel":
        return PathModel.fitted(past.series, past.ridge(self.curved), horizon)


class LinearForecastPath(ForecastPath):
    """On the price itself over its spread: better where prices pass through zero."""

    name = "forecast_path_linear"
    curved = False


@dataclass(frozen=True, slots=True)
class PathModel:
    """Leads 1 … horizon: coefficients, mean error of each bin `[lead, bin]`, moves `[lead, bin, next bin]`."""

    ridge: Ridge
    coefficients: Coefficients
    errors: Floats
    moves: Floats

    @classmethod
    def fitted(cls, past: Series, ridge: Ridge, horizon: int) -> "PathModel":
        targets = _ahead(past, ridge, horizon)
        coefficients = ridge.solve(targets)
        off = targets - ridge.known(coefficients)[: ridge.rows]
        rank = np.argsort(np.argsort(off, axis=0), axis=0) * _BINS // len(off)
        errors = np.stack(
            [
                np.bincount(rank[:, lead], off[:, lead], _BINS) / np.bincount(rank[:, lead], minlength=_BINS)
                for lead in range(horizon)
            ]
        )
        moves = np.full((horizon - 1, _BINS, _BINS), _SMOOTHING / _BINS)
        for lead in range(horizon - 1):
            pairs = np.bincount(rank[:, lead] * _BINS + rank[:, lead + 1], minlength=_BINS**2)
            moves[lead] += pairs.reshape(_BINS, _BINS)
        return cls(ridge, coefficients, errors, moves / moves.sum(axis=2, keepdims=True))

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        """See `Model`."""
        price = self._prices(seen, first)
        horizon = len(self.errors)
        found = np.full((len(price), horizon + 1), RUN_NOW)
        value = np.empty((len(price), horizon, _BINS))
        for lead in range(horizon - 1, -1, -1):
            if lead + 1 < horizon:
                later = value[:, lead + 1 :] @ self.moves[lead].T
                value[:, lead + 1 :] = np.minimum(price[:, lead, None], later)
            value[:, lead] = price[:, lead]
        found[:, 1:] = value.mean(axis=2)
        return found

    def expected(self, seen: Series, first: int) -> Floats:
        """`[slot − first, lead]`: the mean price of the slots after each; row t reads prices up to slot t."""
        return np.asarray(self._prices(seen, first).mean(axis=2))

    def _prices(self, seen: Series, first: int) -> Floats:
        """`[slot − first, lead, bin]`: prices ahead by the bins of the errors of the past."""
        now = see(seen, self.ridge.scale, first, len(seen))
        ahead = self.ridge.predict(now, self.coefficients)[:, :, None] + self.errors
        return self.ridge.scale.back(now.level[:, None, None] + now.spread[:, None, None] * ahead)

    def quantiles(self, seen: Series, shares: tuple[float, ...]) -> Floats:
        """`[lead, share]`: quantiles of the price of the slots after the newest, by the errors of the past."""
        now = see(seen, self.ridge.scale, len(seen) - 1, len(seen))
        ahead = self.ridge.predict(now, self.coefficients)[0, :, None] + self.errors
        price = self.ridge.scale.back(now.level[0] + now.spread[0] * ahead)
        return np.asarray(np.quantile(price, shares, axis=1).T)


def _ahead(past: Series, ridge: Ridge, horizon: int) -> Floats:
    """Targets `[row, lead]`: the price that many slots later, as the ridge's rows see it."""
    z = ridge.scale.of(past.prices[ridge.first :])
    later = np.lib.stride_tricks.sliding_window_view(z, horizon)[1 : ridge.rows + 1]
    level, spread = ridge.seen.level[: ridge.rows, None], ridge.seen.spread[: ridge.rows, None]
    return np.clip((later - level) / spread, -8, 30)
