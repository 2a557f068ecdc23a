"""Continuation values of several policies, corrected by what following them would have cost, slot by slot left.

For r slots left: z̄ = median over the policies of asinh(C_r/s); a weighted ridge on what is known at the slot learns
asinh(V/s) − z̄, where V is what a task that waits one slot more paid in the end under the corrected values. Rows
weigh most where the decision is close: e^(−|z − z̄| ÷ 0.2) + 0.1.
"""

from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.features import Scale
from lowtide.market.deferral.policy import Past, Trails, run_now
from lowtide.market.deferral.series import Floats, Series, trailing_mean

_PENALTY, _CONSTANT = 400.0, 0.01
_DAYS, _HALF_LIFE_DAYS = 448, 180
_CLOSE, _FAR = 0.2, 0.1
_LEAST_SD, _MOST = 0.02, 6.0
_LEAST_ROWS_DAYS = 5
_WEEK = 7


@dataclass(frozen=True, slots=True)
class _Step:
    """The ridge of one number of slots left, on standardised columns."""

    mean: Floats
    sd: Floats
    coefficients: Floats

    def of(self, columns: Floats) -> Floats:
        return np.clip((columns - self.mean) / self.sd, -_MOST, _MOST) @ self.coefficients


@dataclass(frozen=True, slots=True)
class Correction:
    """See `Model`. Without steps, for want of history, it runs at once."""

    hears: tuple[str, ...]
    scale: Scale
    steps: list[_Step]
    horizon: int

    @classmethod
    def fitted(cls, past: Past, hears: tuple[str, ...], horizon: int) -> "Correction":
        series, day = past.series, past.series.slots_a_day
        scale = Scale.fitted(series, curved=True)
        spoken = np.all([np.isfinite(past.trails[name][:, 1]) for name in hears], axis=0)
        first = max(int(spoken.argmax()) if spoken.any() else len(series), len(series) - _DAYS * day, day)
        if len(series) - first < _LEAST_ROWS_DAYS * day + horizon:
            return cls(hears, scale, [], horizon)
        prices = series.prices[first:]
        view = _View(series, past.trails, hears, scale, first)
        later = prices[1:]
        steps = []
        for left in range(1, horizon + 1):
            columns, middle, off = view.columns(left)
            rows = len(later)
            age = np.arange(rows)[::-1] / day
            weights = (np.exp(-np.abs(off[:rows]) / _CLOSE) + _FAR) * 0.5 ** (age / _HALF_LIFE_DAYS)
            step, more = _solve(columns[:rows], scale.of(later) - middle[:rows], weights / weights.mean())
            goes_on = scale.back(middle[:rows] + more)
            later = np.where(prices[:rows] <= goes_on, prices[:rows], later)[1:]
            steps.append(step)
        return cls(hears, scale, steps, horizon)

    def values(self, seen: Series, trails: Trails, first: int) -> Floats:
        found = run_now(len(seen) - first, self.horizon)
        if self.steps:
            view = _View(seen, trails, self.hears, self.scale, first)
            for left, step in enumerate(self.steps, start=1):
                columns, middle, _ = view.columns(left)
                found[:, left] = self.scale.back(middle + step.of(columns))
        return found


def _solve(columns: Floats, target: Floats, weights: Floats) -> tuple[_Step, Floats]:
    """The ridge, and what it says of its own rows."""
    mean, sd = columns.mean(axis=0), np.maximum(columns.std(axis=0), _LEAST_SD)
    mean[0], sd[0] = 0.0, 1.0
    standard = np.clip((columns - mean) / sd, -_MOST, _MOST)
    weighted = standard * weights[:, None]
    gram = standard.T @ weighted
    penalty = np.full(len(mean), _PENALTY)
    penalty[0] *= _CONSTANT
    gram[np.diag_indices_from(gram)] += penalty
    coefficients = np.linalg.solve(gram, weighted.T @ target)
    return _Step(mean, sd, coefficients), standard @ coefficients


class _View:
    """What is known at slots `first` … of a series, for any number of slots left, asked in rising order."""

    def __init__(
        self, seen: Series, trails: Trails, hears: tuple[str, ...], scale: Scale, first: int
    ) -> None:
        day = seen.slots_a_day
        begin = max(0, first - (_WEEK + 1) * day)
        z = scale.of(seen.prices[begin:])
        rows = np.arange(first, len(seen)) - begin
        self._heard = np.stack([trails[name][first : len(seen)] for name in hears])
        self._scale, self._day, self._rows = scale, day, rows
        ahead = np.concatenate((z, np.full(day, z[-1])))
        back = [ahead[np.maximum(np.arange(len(ahead)) - day * days, 0)] for days in range(1, _WEEK + 1)]
        # The price a day and a week before any slot up to a day ahead is known already.
        self._before = np.stack((back[0], back[-1], np.mean(back, axis=0)))
        self._least = np.full((3, len(rows)), np.inf)
        self._z = z[rows]
        angle = 2 * np.pi * seen.clock[first : len(seen)] / day
        self._sine, self._cosine = np.sin(angle), np.cos(angle)
        self._level = trailing_mean(z, _WEEK * day)[rows]
        last, second = z[np.maximum(rows - 1, 0)], z[np.maximum(rows - 2, 0)]
        weekend = (seen.weekday[first : len(seen)] >= 5).astype(float)
        self._always = (self._sine, self._cosine, self._z - last, last - second, weekend)

    def columns(self, left: int) -> tuple[Floats, Floats, Floats]:
        """Columns of the ridge, z̄, and z − z̄ with so many slots left."""
        self._least = np.minimum(self._least, self._before[:, self._rows + left])
        members = self._scale.of(self._heard[:, :, left])
        middle = np.median(members, axis=0)
        off = self._z - middle
        found = np.column_stack(
            (
                np.ones(len(middle)),
                middle - self._level,
                *(members - middle),
                off,
                off * self._sine,
                off * self._cosine,
                *(self._least - middle),
                *self._always,
            )
        )
        return found, middle, off
