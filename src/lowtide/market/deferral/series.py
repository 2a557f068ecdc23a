"""A price series on an even grid, with what the policies need of its clock. Slots are numbered from 0."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lowtide.market.wall_clock import even_stretches
from lowtide.values.instants import DAY_US, HOUR_US

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_WEEK_H, _MONTH_H = 168, 672
_TAIL_DAYS = 3
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Series:
    """Prices of one offer or pool, one a slot; row `t` of every derived column reads prices up to slot `t` only.

    `clock` is the slot of the local day (0 … slots_a_day − 1) and `weekday` the local day of the week (Monday 0);
    both run three days past the last price, since the clock ahead is known. `low` and `tenth` are the least and the
    10 % quantile of the last 168 h, `spread` = max(168 h MAD, 0.3 × 672 h MAD).
    """

    prices: Floats
    slot_us: int
    clock: Ints
    weekday: Ints
    low: Floats
    tenth: Floats
    spread: Floats

    def __len__(self) -> int:
        return len(self.prices)

    @property
    def slots_a_day(self) -> int:
        return DAY_US // self.slot_us

    @property
    def slots_an_hour(self) -> int:
        """0 where a slot is longer than an hour or does not divide it."""
        return HOUR_US // self.slot_us if HOUR_US % self.slot_us == 0 else 0

    def until(self, end: int) -> "Series":
        """What was known when slot `end` had not begun: the prices of slots before it."""
        return replace(
            self,
            prices=self.prices[:end],
            low=self.low[:end],
            tenth=self.tenth[:end],
            spread=self.spread[:end],
        )


def series_of(prices: Floats, start_us: int, slot_us: int, zone: str = "UTC") -> Series:
    """The series of `prices` from `start_us` (µs UTC) on. Raises ValueError where slots do not divide a day."""
    if slot_us <= 0 or DAY_US % slot_us:
        raise ValueError("a slot must divide a day")
    if not np.isfinite(prices).all():
        raise ValueError("prices must be finite")
    slots_a_day = DAY_US // slot_us
    local = _local(start_us, slot_us, len(prices) + _TAIL_DAYS * slots_a_day, zone)
    week = max(1, _WEEK_H * HOUR_US // slot_us)
    month = max(1, _MONTH_H * HOUR_US // slot_us)
    lows = _rolling(
        prices, week, lambda rows: np.partition(rows, (0, week // 10), axis=1)[:, [0, week // 10]]
    )
    return Series(
        prices=prices,
        slot_us=slot_us,
        clock=(local % DAY_US) // slot_us,
        weekday=(local // DAY_US + 3) % 7,  # 1970-01-01 was a Thursday
        low=lows[:, 0],
        tenth=lows[:, 1],
        spread=np.maximum(_deviation(prices, week), 0.3 * _deviation(prices, month)),
    )


def trailing_mean(values: Floats, width: int) -> Floats:
    """Mean over the last `width` slots, over fewer at the beginning."""
    sums = np.cumsum(values)
    sums[width:] -= np.cumsum(values)[:-width]
    return sums / np.minimum(np.arange(1, len(values) + 1), width)


def _deviation(prices: Floats, width: int) -> Floats:
    """Mean absolute deviation from the mean, over the last `width` slots."""
    return _rolling(
        prices, width, lambda rows: np.abs(rows - rows.mean(axis=1, keepdims=True)).mean(axis=1)[:, None]
    )[:, 0]


def _rolling(prices: Floats, width: int, of: Callable[[Floats], Floats]) -> Floats:
    """`of` over the last `width` slots; before the first slot its price is repeated."""
    if not len(prices):
        return np.empty((0, width))
    padded = np.concatenate((np.full(width - 1, prices[0]), prices))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.concatenate([of(windows[at : at + _BLOCK]) for at in range(0, len(windows), _BLOCK)])


def _local(start_us: int, slot_us: int, slots: int, zone: str) -> Ints:
    """What the zone's wall clock shows at each slot's begin, as µs since 1970 on that clock."""
    at = start_us + slot_us * np.arange(slots, dtype=np.int64)
    for begin, end, offset in even_stretches(zone, start_us, int(at[-1]) + 1):
        first, last = -(-(begin - start_us) // slot_us), -(-(end - start_us) // slot_us)
        at[first:last] += offset
    return at
