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
class Columns:
    """Standardised features, rows sorted by the hour, so that each hour's own columns are one dense block."""

    plain: Floats
    hourly: Floats
    edges: Ints

    def blocks(self) -> list[tuple[int, int]]:
        return list(zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of one or more targets: plain[column, target] and hourly[hour, column, target]."""

    plain: Floats
    hourly: Floats


@dataclass(frozen=True, slots=True)
class Ridge:
    """Fitted on slots `first` … of a series; rows with a whole day ahead count, later ones are only predicted."""

    scale: Scale
    first: int
    rows: int
    seen: Seen
    _mean: tuple[Floats, Floats]
    _sd: tuple[Floats, Floats]
    _order: Ints
    _columns: Columns
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
        age = np.arange(rows)[::-1] / day
        weights = 0.5 ** (age / _HALF_LIFE_DAYS)
        weights /= weights.mean()
        plain, hourly = seen.plain[:rows], seen.hourly[:rows]
        mean = (plain.mean(axis=0), hourly.mean(axis=0))
        sd = (np.maximum(plain.std(axis=0), _LEAST_SD), np.maximum(hourly.std(axis=0), _LEAST_SD))
        mean[0][0] = mean[1][0] = 0.0
        sd[0][0] = sd[1][0] = 1.0
        order = np.argsort(seen.hour[:rows], kind="stable")
        edges = np.searchsorted(seen.hour[:rows][order], np.arange(_HOURS + 1))
        columns = Columns(
            _standard(plain, mean[0], sd[0])[order], _by_hour(hourly, mean[1], sd[1], curved)[order], edges
        )
        inverse = np.asarray(np.linalg.inv(_gram(columns, weights[order])), dtype=np.float64)
        return cls(scale, first, rows, seen, mean, sd, order, columns, weights[order], inverse)

    def solve(self, targets: Floats) -> Coefficients:
        """Of targets[row, target] for the rows that count."""
        weighted = targets[self._order] * self._weights[:, None]
        by_hour = [self._columns.hourly[a:b].T @ weighted[a:b] for a, b in self._columns.blocks()]
        right = np.concatenate((self._columns.plain.T @ weighted, *by_hour))
        found = self._inverse @ right
        width = self._columns.plain.shape[1]
        return Coefficients(found[:width], found[width:].reshape(_HOURS, -1, targets.shape[1]))

    def predict(self, seen: Seen, coefficients: Coefficients) -> Floats:
        """[row, target] for any slots' features."""
        plain = _standard(seen.plain, self._mean[0], self._sd[0])
        hourly = _by_hour(seen.hourly, self._mean[1], self._sd[1], self.scale.unit is not None)
        return _apply(plain, hourly, seen.hour, coefficients)


def _apply(plain: Floats, hourly: Floats, hour: Ints, coefficients: Coefficients) -> Floats:
    found = plain @ coefficients.plain
    for each in range(_HOURS):
        at = np.flatnonzero(hour == each)
        found[at] += hourly[at] @ coefficients.hourly[each]
    return np.asarray(found)


def _standard(columns: Floats, mean: Floats, sd: Floats) -> Floats:
    return np.asarray(np.clip((columns - mean) / sd, -_MOST, _MOST))


def _by_hour(columns: Floats, mean: Floats, sd: Floats, curved: bool) -> Floats:
    """In asinh(price) clipped as the sparse columns they are, which saturates soon; a linear scale keeps its jumps."""
    most = _MOST if curved else _MOST * _BY_HOUR
    return np.asarray(np.clip((columns - mean) / sd * _BY_HOUR, -most, most))


def _gram(columns: Columns, weights: Floats) -> Floats:
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
