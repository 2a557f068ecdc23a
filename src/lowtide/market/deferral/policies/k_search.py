"""k-min search: the thresholds with the best competitive ratio when nothing is known but bounds of the price.

Source: Lorenz, Panagiotou, Steger (2009), Optimal algorithms for k-search.
"""

import numpy as np

from lowtide.market.deferral.policy import Past, Trails, steady
from lowtide.market.deferral.replay import RUN_NOW
from lowtide.market.deferral.series import Floats, Series

_DAYS = 28


class KSearch:
    """k = 1: one price at or under √(L·U); L and U are the trailing 5 % and 95 % quantiles of 28 days."""

    name = "k_search"
    needs_days = 3
    hears: tuple[str, ...] = ()

    def fit(self, past: Past, horizon: int) -> "_Model":
        low, high = trailing_bounds(past.series)
        level = k_min_thresholds(low, high, 1)[0] if low > 0 else RUN_NOW
        return _Model(level, horizon)


class _Model:
    def __init__(self, level: float, horizon: int) -> None:
        self._level, self._horizon = level, horizon

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        return steady(self._level, len(seen) - first, self._horizon)


def trailing_bounds(past: Series) -> tuple[float, float]:
    """The 5 % and the 95 % quantile of the last 28 days."""
    recent = past.prices[-_DAYS * past.slots_a_day :]
    low, high = np.quantile(recent, (0.05, 0.95))
    return float(low), float(high)


def competitive_ratio(low: float, high: float, k: int) -> float:
    """The most that buying k units by the thresholds can cost, over the clairvoyant's cost; prices in [low, high].

    The root α of (1 − L/U) ÷ (1 − 1/α) = (1 + 1/(kα))^k; √(U/L) for k = 1. Raises ValueError unless 0 < low ≤ high.
    """
    if not 0 < low <= high or k < 1:
        raise ValueError("needs 0 < low <= high and k >= 1")
    if low == high:
        return 1.0
    if k == 1:
        return float((high / low) ** 0.5)
    short, long = 1.0, high / low
    for _ in range(200):
        alpha = (short + long) / 2
        if (1 - low / high) / (1 - 1 / alpha) > (1 + 1 / (k * alpha)) ** k:
            short = alpha
        else:
            long = alpha
    return long


def k_min_thresholds(low: float, high: float, k: int) -> list[float]:
    """The price at or under which the i-th of k units is bought: U[1 − (1 − 1/α)(1 + 1/(αk))^{i−1}], falling in i."""
    alpha = competitive_ratio(low, high, k)
    return [high * (1 - (1 - 1 / alpha) * (1 + 1 / (alpha * k)) ** i) for i in range(k)]
