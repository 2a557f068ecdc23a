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


def first_slot(series: Series) -> int:
    """The first slot with a week and a day of history."""
    return _FIRST_DAY * series.slots_a_day


def see(series: Series, scale: Scale, first: int, end: int) -> Seen:
    """The features of slots `first` … `end` − 1. Needs slots that divide an hour and `first` ≥ `first_slot`."""
    step, day = series.slots_an_hour, series.slots_a_day
    begin = max(0, first - _LOOK_BACK_DAYS * day)
    z = scale.of(series.prices[begin:end])
    rows = np.arange(first, end) - begin
    level = trailing_mean(z, 168 * step)[rows]
    low, tenth = scale.of(series.low[first:end]), scale.of(series.tenth[first:end])
    spread = np.ones(len(rows)) if scale.unit is not None else _positive(series.spread[first:end])

    def less_level(values: Floats) -> Floats:
        return (values - level.reshape(-1, *([1] * (values.ndim - 1)))) / spread.reshape(
            -1, *([1] * (values.ndim - 1))
        )

    def lagged(hours: Ints, of: Floats = z) -> Floats:
        return less_level(of[rows[:, None] - hours * step])

    profile = _slow_profile(z, day)
    today = np.clip(lagged(np.arange(24)), -12, 12)
    month = np.clip(less_level(trailing_mean(z, 672 * step)[rows]), -6, 6)
    tenth_less = less_level(tenth)
    newest, day_mean = today[:, 0], today.mean(axis=1)
    plain = np.column_stack(
        (
            np.ones(len(rows)),
            day_mean,
            lagged(24 - np.arange(1, 25), profile),
            today,
            lagged(48 - np.array(_LAST_TWO_DAYS)),
            lagged(168 - np.arange(1, 25)),
            lagged(np.arange(24, 48)).mean(axis=1),
            today.min(axis=1),
            today.max(axis=1),
            less_level(trailing_mean(z, 72 * step)[rows]),
            month,
            np.clip(less_level(low), -8, 0),
            tenth_less,
            np.maximum(newest, 0),
            np.minimum(newest - tenth_less, 1),
            series.weekday[first:end, None] == np.arange(7),
        )
    )
    hourly = np.column_stack(
        (
            np.ones(len(rows)),
            newest,
            newest - today[:, 23],
            day_mean,
            series.weekday[first:end] >= 5,
            (series.weekday[first:end] + 1) % 7 >= 5,
            np.clip(_change_today(z, rows, series.clock[first:end], day) / spread, -8, 8),
            newest - today[:, 1],
        )
    )
    return Seen(plain, hourly, series.clock[first:end] // step, level, spread)


PENALTIES = np.concatenate(([0.001, 0.5], np.full(24, 0.5), np.ones(24 + 10 + 24 + 9 + 7)))
HOURLY_PENALTIES = np.array([0.3, 1, 1, 1, 1, 1, 1, 1])


def _positive(spread: Floats) -> Floats:
    return np.where(spread > 0, spread, 1.0)


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
