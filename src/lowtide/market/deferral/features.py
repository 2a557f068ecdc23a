"""What the learned policies see of a series at slot t: its level, its last days, its week, its clock.

Formulas: z is the price made comparable; everything is less its 168 h mean. Row t reads prices up to slot t only.
"""

from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.series import Floats, Ints, Series, trailing_mean

LEARNED_FROM_DAYS = 14
_FIRST_DAY = 8
_LOOK_BACK_DAYS = 60
_SLOW = 0.1
_LAST_TWO_DAYS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24)


@dataclass(frozen=True, slots=True)
class Scale:
    """How a price becomes comparable: asinh of it over the 28-day median, or plainly over its spread."""

    unit: float | None

    @classmethod
    def fitted(cls, past: Series, curved: bool) -> "Scale":
        if not curved:
            return cls(None)
        month = np.abs(past.prices[-28 * past.slots_a_day :])
        middle = float(np.median(month))
        return cls(middle or float(month.mean()) or 1.0)

    def of(self, prices: Floats) -> Floats:
        return prices if self.unit is None else np.arcsinh(prices / self.unit)

    def back(self, comparable: Floats) -> Floats:
        if self.unit is None:
            return comparable
        return self.unit * np.sinh(np.clip(comparable, -30, 30))


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of some slots: plain columns, and those whose weight differs by the hour of the day.

    `level` and `spread` make a forecast of them a price again: scale.back(level + spread × forecast).
    """

    plain: Floats
    hourly: Floats
    hour: Ints
    level: Floats
    spread: Floats

    def until(self, rows: int) -> "Seen":
        """Those of the first slots."""
        return Seen(
            self.plain[:rows], self.hourly[:rows], self.hour[:rows], self.level[:rows], self.spread[:rows]
        )


def first_slot(series: Series) -> int:
    """The first slot with a week and a day of history."""
    return _FIRST_DAY * series.slots_a_day


def see(series: Series, scale: Scale, first: int, end: int) -> Seen:
    """The features of slots `first` … `end` − 1. Needs slots that divide an hour and `first` ≥ `first_slot`."""
    window = _Window.of(series, scale, first, end)
    today = np.clip(window.lagged(np.arange(24)), -12, 12)
    hour = series.clock[first:end] // series.slots_an_hour
    plain, hourly = _plain(window, today), _hourly(window, today)
    return Seen(plain, hourly, hour, window.level, window.spread)


@dataclass(frozen=True, slots=True)
class _Window:
    """z from some weeks before the slots on, and which of its entries the slots are."""

    series: Series
    scale: Scale
    first: int
    end: int
    z: Floats
    rows: Ints
    level: Floats
    spread: Floats

    @classmethod
    def of(cls, series: Series, scale: Scale, first: int, end: int) -> "_Window":
        begin = max(0, first - _LOOK_BACK_DAYS * series.slots_a_day)
        z = scale.of(series.prices[begin:end])
        rows = np.arange(first, end) - begin
        level = trailing_mean(z, 168 * series.slots_an_hour)[rows]
        own = series.spread[first:end]
        spread = np.ones(len(rows)) if scale.unit is not None else np.where(own > 0, own, 1.0)
        return cls(series, scale, first, end, z, rows, level, spread)

    def less_level(self, values: Floats) -> Floats:
        """Of one value a slot, or of one column each."""
        if values.ndim == 1:
            return np.asarray((values - self.level) / self.spread)
        return np.asarray((values - self.level[:, None]) / self.spread[:, None])

    def lagged(self, hours: Ints) -> Floats:
        """z so many hours ago, one column each, less the level."""
        return self.less_level(self.z[self.rows[:, None] - hours * self.series.slots_an_hour])

    def mean(self, hours: int) -> Floats:
        return self.less_level(trailing_mean(self.z, hours * self.series.slots_an_hour)[self.rows])


def _plain(window: _Window, today: Floats) -> Floats:
    series, scale, slots = window.series, window.scale, slice(window.first, window.end)
    profile = _slow_profile(window.z, series.slots_a_day)
    back = window.rows[:, None] - (24 - np.arange(1, 25)) * series.slots_an_hour
    newest, tenth = today[:, 0], window.less_level(scale.of(series.tenth[slots]))
    return np.column_stack(
        (
            np.ones(len(newest)),
            today.mean(axis=1),
            window.less_level(profile[back]),
            today,
            window.lagged(48 - np.array(_LAST_TWO_DAYS)),
            window.lagged(168 - np.arange(1, 25)),
            window.lagged(np.arange(24, 48)).mean(axis=1),
            today.min(axis=1),
            today.max(axis=1),
            window.mean(72),
            np.clip(window.mean(672), -6, 6),
            np.clip(window.less_level(scale.of(series.low[slots])), -8, 0),
            tenth,
            np.maximum(newest, 0),
            np.minimum(newest - tenth, 1),
            series.weekday[slots, None] == np.arange(7),
        )
    )


def _hourly(window: _Window, today: Floats) -> Floats:
    series, slots = window.series, slice(window.first, window.end)
    change = _change_today(window.z, window.rows, series.clock[slots], series.slots_a_day)
    newest = today[:, 0]
    return np.column_stack(
        (
            np.ones(len(newest)),
            newest,
            newest - today[:, 23],
            today.mean(axis=1),
            series.weekday[slots] >= 5,
            (series.weekday[slots] + 1) % 7 >= 5,
            np.clip(change / window.spread, -8, 8),
            newest - today[:, 1],
        )
    )


# In the order of the columns above.
PENALTIES = np.concatenate(([0.001, 0.5], np.full(24, 0.5), np.ones(24 + 10 + 24 + 9 + 7)))
HOURLY_PENALTIES = np.array([0.3, 1, 1, 1, 1, 1, 1, 1])


def _slow_profile(z: Floats, day: int) -> Floats:
    """M_t = 0.1 z_t + 0.9 M_{t − 1 day}, from the first days' mean on."""
    profile = np.empty_like(z)
    last = np.resize(z[:day], day) if len(z) < 7 * day else z[: 7 * day].reshape(7, day).mean(axis=0)
    for at in range(0, len(z), day):
        piece = z[at : at + day]
        last = last.copy()
        last[: len(piece)] = _SLOW * piece + (1 - _SLOW) * last[: len(piece)]
        profile[at : at + day] = last[: len(piece)]
    return profile


def _change_today(z: Floats, rows: Ints, clock: Ints, day: int) -> Floats:
    """Mean over the local day so far of z less z a day ago."""
    change = np.zeros_like(z)
    change[day:] = z[day:] - z[:-day]
    sums = np.concatenate(([0.0], np.cumsum(change)))
    return np.asarray((sums[rows + 1] - sums[rows - clock]) / (clock + 1))
