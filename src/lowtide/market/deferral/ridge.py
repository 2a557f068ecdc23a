"""A weighted ridge on the features: one factorisation serves every target."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.features import HOURLY_PENALTIES, PENALTIES, Scale, Seen, first_slot, see
from lowtide.market.deferral.series import Floats, Ints, Series

_PENALTY = 150.0
_DAYS = 336
_HALF_LIFE_DAYS = 150
_LEAST_SD, _MOST = 0.05, 6.0
_HOURS = 24
_BY_HOUR = _HOURS**0.5  # a column that is zero in 23 hours of 24 has about that much less spread


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of one or more targets: plain[column, target] and hourly[hour, column, target]."""

    plain: Floats
    hourly: Floats


@dataclass(frozen=True, slots=True)
class _Columns:
    """Standardised features, rows sorted by the hour, so that each hour's own columns are one dense block."""

    plain: Floats
    hourly: Floats
    order: Ints
    edges: Ints

    def blocks(self) -> list[tuple[int, int]]:
        return list(zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True))

    def times(self, coefficients: Coefficients) -> Floats:
        """`[row, target]`, rows in their own order."""
        by_hour = self.plain @ coefficients.plain
        for hour, (a, b) in enumerate(self.blocks()):
            by_hour[a:b] += self.hourly[a:b] @ coefficients.hourly[hour]
        found = np.empty_like(by_hour)
        found[self.order] = by_hour
        return found


@dataclass(frozen=True, slots=True)
class _Standard:
    """Means and deviations of plain and hourly columns.

    In asinh(price) an hour's columns are clipped as the sparse ones they are, which saturates soon; a linear scale
    keeps its jumps.
    """

    mean: tuple[Floats, Floats]
    sd: tuple[Floats, Floats]
    most_hourly: float

    @classmethod
    def of(cls, seen: Seen, curved: bool) -> "_Standard":
        mean = (seen.plain.mean(axis=0), seen.hourly.mean(axis=0))
        sd = (np.maximum(seen.plain.std(axis=0), _LEAST_SD), np.maximum(seen.hourly.std(axis=0), _LEAST_SD))
        mean[0][0] = mean[1][0] = 0.0
        sd[0][0] = sd[1][0] = 1.0
        return cls(mean, sd, _MOST if curved else _MOST * _BY_HOUR)

    def columns(self, seen: Seen) -> _Columns:
        order = np.argsort(seen.hour, kind="stable")
        edges = np.searchsorted(seen.hour[order], np.arange(_HOURS + 1))
        plain = np.clip((seen.plain[order] - self.mean[0]) / self.sd[0], -_MOST, _MOST)
        hourly = (seen.hourly[order] - self.mean[1]) / self.sd[1] * _BY_HOUR
        return _Columns(plain, np.clip(hourly, -self.most_hourly, self.most_hourly), order, edges)


@dataclass(frozen=True, slots=True)
class Ridge:
    """Fitted on slots `first` … of a series; the first `rows` of them have a whole day ahead and count."""

    scale: Scale
    first: int
    rows: int
    seen: Seen
    _standard: _Standard
    _columns: _Columns
    _weights: Floats
    _inverse: Floats

    @classmethod
    def fitted(cls, past: Series, curved: bool) -> "Ridge":
        """From the past alone; needs LEARNED_FROM_DAYS of it."""
        day = past.slots_a_day
        scale = Scale.fitted(past, curved)
        first = max(first_slot(past), len(past) - _DAYS * day)
        seen = see(past, scale, first, len(past))
        rows = len(past) - day - first
        weights = np.zeros(len(past) - first)
        weights[:rows] = 0.5 ** (np.arange(rows)[::-1] / day / _HALF_LIFE_DAYS)
        weights /= weights[:rows].mean()
        standard = _Standard.of(seen.until(rows), curved)
        columns = standard.columns(seen)
        inverse = np.asarray(np.linalg.inv(_gram(columns, weights[columns.order])), dtype=np.float64)
        return cls(scale, first, rows, seen, standard, columns, weights, inverse)

    def solve(self, targets: Floats) -> Coefficients:
        """Of targets[row, target] for the rows that count."""
        columns = self._columns
        weighted = np.zeros((len(self._weights), targets.shape[1]))
        weighted[: self.rows] = targets * self._weights[: self.rows, None]
        weighted = weighted[columns.order]
        by_hour = [columns.hourly[a:b].T @ weighted[a:b] for a, b in columns.blocks()]
        found = self._inverse @ np.concatenate((columns.plain.T @ weighted, *by_hour))
        width = columns.plain.shape[1]
        return Coefficients(found[:width], found[width:].reshape(_HOURS, -1, targets.shape[1]))

    def known(self, coefficients: Coefficients) -> Floats:
        """What they say of the slots that the ridge was fitted on and of those after: `[slot − first, target]`."""
        return self._columns.times(coefficients)

    def predict(self, seen: Seen, coefficients: Coefficients) -> Floats:
        """What they say of any slots: `[row, target]`."""
        return self._standard.columns(seen).times(coefficients)


def _gram(columns: _Columns, weights: Floats) -> Floats:
    plain, hourly = columns.plain, columns.hourly
    width, own = plain.shape[1], hourly.shape[1]
    gram = np.zeros((width + _HOURS * own, width + _HOURS * own))
    gram[:width, :width] = plain.T @ (plain * weights[:, None])
    for hour, (a, b) in enumerate(columns.blocks()):
        at = slice(width + hour * own, width + (hour + 1) * own)
        weighted = hourly[a:b] * weights[a:b, None]
        gram[:width, at] = plain[a:b].T @ weighted
        gram[at, :width] = gram[:width, at].T
        gram[at, at] = hourly[a:b].T @ weighted
    penalties = np.concatenate((PENALTIES, np.tile(HOURLY_PENALTIES, _HOURS)))
    gram[np.diag_indices_from(gram)] += _PENALTY * penalties
    return gram
