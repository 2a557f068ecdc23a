"""A Markov chain of what a price is off its daily profile, and the stopping values it gives."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lowtide.market.deferral.features import Scale
from lowtide.market.deferral.series import Floats, Ints, Series

_SMOOTHING = 0.5
_SHRINK = 3.0


@dataclass(frozen=True, slots=True)
class ChainKind:
    """How a chain is fitted: days of history, half-life of its profile in days, bins of the residual.

    `by_hour`: residuals are divided by their usual size at that time of day.
    """

    days: int
    half_life: float
    bins: int = 20
    by_hour: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """z = profile[weekend, clock] + size[clock] × residual; residuals move between bins once a slot."""

    scale: Scale
    profile: Floats
    size: Floats
    means: Floats
    moves: Floats

    @classmethod
    def fitted(cls, past: Series, kind: ChainKind) -> Self:
        day = past.slots_a_day
        first = max(0, len(past) - kind.days * day)
        scale = Scale.fitted(past, curved=True)
        z = scale.of(past.prices[first:])
        clock, weekend = past.clock[first : len(past)], _weekend(past, first, len(past))
        weights = 0.5 ** (np.arange(len(z))[::-1] / day / kind.half_life)
        profile = _profile(z, weights, clock, weekend, day)
        off = z - profile[weekend, clock]
        size = _size(off, weights, clock, day) if kind.by_hour else np.ones(day)
        off = off / size[clock]
        edges = np.quantile(off, np.arange(1, kind.bins) / kind.bins)
        at = np.searchsorted(edges, off, side="right")
        count = np.bincount(at, minlength=kind.bins)
        sums = np.bincount(at, off, minlength=kind.bins)
        middle = np.quantile(off, (np.arange(kind.bins) + 0.5) / kind.bins)
        means = np.where(count > 0, sums / np.maximum(count, 1), middle)
        moves = np.full((kind.bins, kind.bins), _SMOOTHING / kind.bins)
        np.add.at(moves, (at[:-1], at[1:]), 1.0)
        return cls(
            scale, profile, size, np.maximum.accumulate(means), moves / moves.sum(axis=1, keepdims=True)
        )

    def values(self, seen: Series, first: int, horizon: int) -> Floats:
        """Continuation values of slots `first` … end, interpolated between the bins."""
        end = len(seen)
        span = slice(first, end + horizon)
        centre = self.profile[_weekend(seen, span.start, span.stop), seen.clock[span]]
        size = self.size[seen.clock[span]]
        price = self.scale.back(centre[:, None] + size[:, None] * self.means)
        low, share = self._bins(seen, first, centre, size)
        rows = np.arange(end - first)
        found = np.full((end - first, horizon + 1), np.inf)
        value = price
        for left in range(1, horizon + 1):
            goes_on = np.concatenate((value[1:], value[-1:])) @ self.moves.T
            found[:, left] = goes_on[rows, low] * (1 - share) + goes_on[rows, low + 1] * share
            value = np.minimum(price, goes_on)
        return found

    def _bins(self, seen: Series, first: int, centre: Floats, size: Floats) -> tuple[Ints, Floats]:
        """Between which two bins' means each slot lies, and how far."""
        slots = len(seen) - first
        off = (self.scale.of(seen.prices[first:]) - centre[:slots]) / size[:slots]
        low = np.clip(np.searchsorted(self.means, off) - 1, 0, len(self.means) - 2)
        width = self.means[low + 1] - self.means[low]
        share = (off - self.means[low]) / np.where(width > 0, width, 1.0)
        return low, np.clip(share, 0.0, 1.0)


def _weekend(series: Series, first: int, end: int) -> Ints:
    return (series.weekday[first:end] >= 5).astype(np.int64)


def _profile(z: Floats, weights: Floats, clock: Ints, weekend: Ints, day: int) -> Floats:
    """Weighted mean by slot of the day, and of weekdays and weekends apart, shrunk to it by n ÷ (n + 3)."""
    overall = float(np.average(z, weights=weights))
    mass = np.bincount(clock, weights, day)
    common = np.where(mass > 0, np.bincount(clock, weights * z, day) / np.where(mass > 0, mass, 1), overall)
    found = np.empty((2, day))
    for kind in (0, 1):
        of = weekend == kind
        count = np.bincount(clock[of], minlength=day)
        mass = np.bincount(clock[of], weights[of], day)
        own = np.bincount(clock[of], weights[of] * z[of], day) / np.where(mass > 0, mass, 1)
        found[kind] = np.where(mass > 0, common + count / (count + _SHRINK) * (own - common), common)
    return found


def _size(off: Floats, weights: Floats, clock: Ints, day: int) -> Floats:
    mass = np.bincount(clock, weights, day)
    found = np.bincount(clock, weights * np.abs(off), day) / np.where(mass > 0, mass, 1)
    return np.maximum(found, max(float(found.mean()) * 0.2, 1e-9))
