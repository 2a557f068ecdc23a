"""A zone's wall clock in whole numbers: its offset from UTC, and the instants at which that changes.

Kept by blocks of days: tariffs ask for the same weeks again and again.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from lowtide.values.instants import DAY_US, HOUR_US, instant, micros

_BLOCK_US = 32 * DAY_US
_STEP_US = 12 * HOUR_US
# Beyond these instants the local date would leave the years 1 to 9999.
_FIRST = micros(datetime(1, 1, 3, tzinfo=UTC))
_LAST = micros(datetime(9999, 12, 29, tzinfo=UTC))
_ONE_US = timedelta(microseconds=1)


def local_us(zone: str, at: int) -> int:
    """What the zone's wall clock shows at an instant (µs UTC), as µs since 1970 on that clock."""
    return at + _offset(ZoneInfo(zone), at)


def even_stretches(zone: str, start_us: int, end_us: int) -> Iterator[tuple[int, int, int]]:
    """`[start_us, end_us)` (µs UTC) cut where the clock is put forward or back: begin, end and offset in µs."""
    begin = start_us
    while begin < end_us:
        number = begin // _BLOCK_US
        block_end = min((number + 1) * _BLOCK_US, end_us)
        changes = _offsets(zone, number)
        for (_, offset), until in zip(changes, [*(at for at, _ in changes[1:]), block_end], strict=True):
            if begin < min(until, block_end):
                yield begin, min(until, block_end), offset
                begin = min(until, block_end)


@lru_cache(maxsize=4096)
def _offsets(zone: str, number: int) -> tuple[tuple[int, int], ...]:
    """The offsets within a block of days, each with the instant from which it holds."""
    info, start = ZoneInfo(zone), number * _BLOCK_US
    found = [(start, _offset(info, start))]
    for after in range(start + _STEP_US, start + _BLOCK_US + 1, _STEP_US):
        if _offset(info, after) == found[-1][1]:
            continue
        low, high = after - _STEP_US, after
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(info, middle) == found[-1][1] else (low, middle)
        if high < start + _BLOCK_US:
            found.append((high, _offset(info, high)))
    return tuple(found)


def _offset(info: ZoneInfo, at: int) -> int:
    offset = instant(min(max(at, _FIRST), _LAST)).astimezone(info).utcoffset()
    return 0 if offset is None else offset // _ONE_US
