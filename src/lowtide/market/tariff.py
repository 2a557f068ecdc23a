"""Tariffs: a seller's clock schedule in its own zone, expanded to quotes in UTC.

A window belongs to the day on which it starts, on the seller's clock; whether an instant lies in it is read
off that clock. So a window in the hour that spring skips has no length, and one in the hour that autumn
repeats has it twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from lowtide.market.quote import Prices, Quote
from lowtide.values.instants import HOUR_US, instant, micros
from lowtide.values.money import ceil_div

SUNDAY = 6
EVERY_DAY = frozenset(range(7))
DAY_MINUTES = 24 * 60
_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the local day, `[start, end)` in minutes, and the weekdays (0 = Monday) it starts on.

    An end before the start lies on the next day; an end equal to the start is a whole day. Exactly one of
    `multiplier_ppm` (of the base prices) and `prices` says what it costs.
    """

    start: int
    end: int
    weekdays: frozenset[int] = EVERY_DAY
    multiplier_ppm: int | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        if (self.multiplier_ppm is None) == (self.prices is None):
            raise ValueError("a window has either a multiplier or prices of its own")
        if not (0 <= self.start < DAY_MINUTES and 0 <= self.end < DAY_MINUTES):
            raise ValueError("a window's start and end are minutes of a day, 0 to 1439")

    def contains(self, minute: int, today: int, yesterday: int) -> bool:
        """Whether the local minute lies inside, given the weekday of its day and of the day before."""
        if self.start < self.end:
            return self.start <= minute < self.end and today in self.weekdays
        return (minute >= self.start and today in self.weekdays) or (
            minute < self.end and yesterday in self.weekdays
        )


@dataclass(frozen=True, slots=True)
class Tariff:
    """Windows in an IANA zone; the first that contains an instant sets its price, else the base prices hold.

    A date among `holidays` (on the zone's calendar) counts as a Sunday. Before `effective_from` and from
    `effective_until` on (µs UTC) the base prices hold.
    """

    zone: str
    windows: tuple[Window, ...]
    holidays: frozenset[date] = frozenset()
    effective_from: int | None = None
    effective_until: int | None = None

    def weekday(self, day: date) -> int:
        """The weekday that a local date counts as, 0 = Monday."""
        return SUNDAY if day in self.holidays else day.weekday()

    def window_at(self, at: int) -> Window | None:
        """The window in force at an instant (µs UTC), or None where the base prices hold."""
        if self.effective_from is not None and at < self.effective_from:
            return None
        if self.effective_until is not None and at >= self.effective_until:
            return None
        local = instant(at).astimezone(ZoneInfo(self.zone))
        minute, day = local.hour * 60 + local.minute, local.date()
        today, yesterday = self.weekday(day), self.weekday(day - timedelta(days=1))
        return next((window for window in self.windows if window.contains(minute, today, yesterday)), None)

    def prices_at(self, base: Prices, at: int) -> Prices:
        """What an instant (µs UTC) costs under this tariff."""
        window = self.window_at(at)
        if window is None:
            return base
        return window.prices if window.prices is not None else scaled(base, window.multiplier_ppm or 0)


def scaled(prices: Prices, multiplier_ppm: int) -> Prices:
    """Every price times so many parts per million, each rounded up to a nano-USD; unknown stays unknown."""

    def times(price: int | None) -> int | None:
        return None if price is None else ceil_div(price * multiplier_ppm, _PPM)

    steps = tuple(
        replace(
            step,
            input=times(step.input),
            output=times(step.output),
            cache_write=times(step.cache_write),
            cached_input=times(step.cached_input),
        )
        for step in prices.steps
    )
    return Prices(
        input=times(prices.input),
        output=times(prices.output),
        cached_input=times(prices.cached_input),
        cache_write=times(prices.cache_write),
        steps=steps,
        per_request=ceil_div(prices.per_request * multiplier_ppm, _PPM),
    )


def expand(tariff: Tariff, base: Prices, start_us: int, end_us: int, sequence: int) -> tuple[Quote, ...]:
    """Quotes that cover `[start_us, end_us)` (µs UTC) exactly, in order, equal neighbours made one."""
    if end_us <= start_us:
        return ()
    edges = {edge for edge in _edges(tariff, start_us, end_us) if start_us < edge < end_us}
    quotes: list[Quote] = []
    begin, current = start_us, tariff.prices_at(base, start_us)
    for edge in sorted(edges):
        prices = tariff.prices_at(base, edge)
        if prices != current:
            quotes.append(Quote(current, begin, edge, sequence))
            begin, current = edge, prices
    quotes.append(Quote(current, begin, end_us, sequence))
    return tuple(quotes)


def _edges(tariff: Tariff, start_us: int, end_us: int) -> Iterator[int]:
    """Every instant at which another window may come into force."""
    zone = ZoneInfo(tariff.zone)
    yield from (edge for edge in (tariff.effective_from, tariff.effective_until) if edge is not None)
    yield from _clock_changes(zone, start_us, end_us)
    minutes = {0} | {minute for window in tariff.windows for minute in (window.start, window.end)}
    day = instant(start_us).astimezone(zone).date() - timedelta(days=1)
    last = instant(end_us).astimezone(zone).date() + timedelta(days=1)
    while day <= last:
        for minute in minutes:
            wall = datetime.combine(day, time(minute // 60, minute % 60), zone)
            yield micros(wall.replace(fold=0).astimezone(UTC))
            yield micros(wall.replace(fold=1).astimezone(UTC))
        day += timedelta(days=1)


def _clock_changes(zone: ZoneInfo, start_us: int, end_us: int) -> Iterator[int]:
    """The instants in the range at which the zone's offset changes, to the microsecond."""

    def offset(at: int) -> timedelta | None:
        return instant(at).astimezone(zone).utcoffset()

    before = start_us
    while before < end_us:
        after = min(before + 12 * HOUR_US, end_us)
        if offset(before) != offset(after):
            low, high = before, after
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            yield high
        before = after
