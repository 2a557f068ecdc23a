"""Tariffs: a seller's clock schedules in its own zone, expanded to quotes in UTC.

A window belongs to the day on which it starts, on the seller's clock; whether an instant lies in it is read
off that clock. So a window in the hour that spring skips has no length, and one in the hour that autumn
repeats has it twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

from lowtide.market.dearest import dearest
from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices, Quote
from lowtide.market.wall_clock import even_stretches, local_us
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, MINUTE_US, SECOND_US, rfc3339
from lowtide.values.money import ceil_div

SUNDAY = 6
EVERY_DAY = frozenset(range(7))
DAY_MINUTES = 24 * 60
BILLED = ("start", "completion")
LONGEST_CALL_US = 600 * SECOND_US
_PPM = 1_000_000
_1970 = date(1970, 1, 1).toordinal()
_THURSDAY = 3


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the local day, `[start, end)` in minutes, and the weekdays (0 = Monday) it starts on.

    An end before the start lies on the next day; an end equal to the start is a whole day. Exactly one of
    `multiplier_ppm` (of the base prices) and `prices` says what it costs; `capacity` is what is sold then.
    """

    start: int
    end: int
    weekdays: frozenset[int] = EVERY_DAY
    multiplier_ppm: int | None = None
    prices: Prices | None = None
    capacity: Capacity | None = None

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

    def cost(self, base: Prices) -> Prices:
        """What it costs, given the base prices."""
        return self.prices if self.prices is not None else scaled(base, self.multiplier_ppm or 0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The windows that hold from `effective_from` to `effective_until` (µs UTC; None is without end).

    The first window that contains an instant counts. A date among `holidays` (on the zone's calendar) counts as a
    Sunday. Where `zone` or `holidays` is None, the tariff's hold.
    """

    windows: tuple[Window, ...]
    zone: str | None = None
    holidays: frozenset[date] | None = None
    effective_from: int | None = None
    effective_until: int | None = None

    def covers(self, at: int) -> bool:
        """Whether it is in effect at an instant (µs UTC)."""
        return (self.effective_from is None or self.effective_from <= at) and (
            self.effective_until is None or at < self.effective_until
        )


@dataclass(frozen=True, slots=True)
class Tariff:
    """One schedule in an IANA zone, or several that follow each other; where none is in effect the base prices hold.

    `billed` says what a call that crosses a boundary costs: the price at its "start", or that at its "completion".
    The latter is quoted as the dearest price that a call of up to `longest_call_us` may meet, so that a bid is never
    below what the seller may charge. Raises BadValue (`bad_tariff`) where schedules overlap.
    """

    zone: str
    windows: tuple[Window, ...] = ()
    holidays: frozenset[date] = frozenset()
    effective_from: int | None = None
    effective_until: int | None = None
    schedules: tuple[Schedule, ...] = ()
    billed: str = "start"
    longest_call_us: int = LONGEST_CALL_US

    def __post_init__(self) -> None:
        if self.windows and self.schedules:
            raise ValueError("a tariff has either windows or schedules")
        if self.billed not in BILLED:
            raise ValueError("a call is billed by its start or its completion")
        _refuse_overlaps(self.schedules)

    @property
    def reach_us(self) -> int:
        """How far ahead of a call's start a price still counts for it, µs."""
        return self.longest_call_us if self.billed == "completion" else 0

    def timeline(self) -> list[Schedule]:
        """The schedules in order of time."""
        own = Schedule(self.windows, None, None, self.effective_from, self.effective_until)
        return sorted(self.schedules or (own,), key=_since)

    def window_at(self, at: int) -> Window | None:
        """The window in force at an instant (µs UTC), or None where the base prices hold."""
        schedule = next((one for one in self.timeline() if one.covers(at)), None)
        if schedule is None:
            return None
        day, time = divmod(local_us(schedule.zone or self.zone, at), DAY_US)
        holidays = self.holidays if schedule.holidays is None else schedule.holidays
        today, yesterday = _weekday(day, holidays), _weekday(day - 1, holidays)
        minute = time // MINUTE_US
        return next((one for one in schedule.windows if one.contains(minute, today, yesterday)), None)

    def prices_at(self, base: Prices, at: int) -> Prices:
        """The price of an instant (µs UTC), past or future: a call's start, or its completion where that is billed."""
        window = self.window_at(at)
        return base if window is None else window.cost(base)


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
    terms = _terms(tariff, base, start_us, end_us + tariff.reach_us)
    if tariff.reach_us:
        terms = _ahead(list(_joined(terms)), tariff.reach_us, start_us, end_us)
    found = list(_joined(terms))
    ends = [at for at, _ in found[1:]] + [end_us]
    return tuple(
        Quote(prices, begin, end, sequence, capacity=capacity)
        for (begin, (prices, capacity)), end in zip(found, ends, strict=True)
    )


_Terms = tuple[Prices, Capacity | None]


def _terms(tariff: Tariff, base: Prices, start: int, end: int) -> Iterator[tuple[int, _Terms]]:
    """What holds from which instant on; of several at one instant the last counts."""
    plain: _Terms = (base, None)
    at = start
    for schedule in tariff.timeline():
        first = max(at, start if schedule.effective_from is None else schedule.effective_from)
        last = end if schedule.effective_until is None else min(end, schedule.effective_until)
        if first >= last:
            continue
        if at < first:
            yield at, plain
        costs: dict[int | None, _Terms] = {
            number: (window.cost(base), window.capacity) for number, window in enumerate(schedule.windows)
        }
        for moment, number in _changes(tariff, schedule, first, last):
            yield moment, costs.get(number, plain)
        at = last
    if at < end:
        yield at, plain


def _changes(tariff: Tariff, schedule: Schedule, start: int, end: int) -> Iterator[tuple[int, int | None]]:
    """From which instant on which window of the schedule holds, by its place."""
    holidays = tariff.holidays if schedule.holidays is None else schedule.holidays
    plans: dict[tuple[int, int], list[tuple[int, int | None]]] = {}
    for begin, until, offset in even_stretches(schedule.zone or tariff.zone, start, end):
        first = (begin + offset) // DAY_US
        yesterday = _weekday(first - 1, holidays)
        for day in range(first, (until - 1 + offset) // DAY_US + 1):
            today = _weekday(day, holidays)
            plan = plans.get((today, yesterday))
            if plan is None:
                plan = plans[today, yesterday] = _plan(schedule.windows, today, yesterday)
            midnight, yesterday = day * DAY_US - offset, today
            for time, number in plan:
                if midnight + time < until:
                    yield max(begin, midnight + time), number


def _plan(windows: tuple[Window, ...], today: int, yesterday: int) -> list[tuple[int, int | None]]:
    """From which time of a day on (µs of its clock) which window holds."""
    edges = sorted({0, *(minute for window in windows for minute in (window.start, window.end))})
    return [
        (
            edge * MINUTE_US,
            next((n for n, one in enumerate(windows) if one.contains(edge, today, yesterday)), None),
        )
        for edge in edges
    ]


def _ahead(terms: list[tuple[int, _Terms]], reach: int, start: int, end: int) -> Iterator[tuple[int, _Terms]]:
    """The same terms, each at the dearest price from its instant to `reach` later."""
    starts = [at for at, _ in terms]
    edges = {
        start,
        *(at for at in starts if at < end),
        *(at - reach for at in starts if start < at - reach < end),
    }
    here = there = 0
    for at in sorted(edges):
        while here + 1 < len(starts) and starts[here + 1] <= at:
            here += 1
        while there + 1 < len(starts) and starts[there + 1] <= at + reach:
            there += 1
        met = dearest(prices for _, (prices, _) in terms[here : there + 1])
        yield at, (met, terms[here][1][1])


def _joined(terms: Iterable[tuple[int, _Terms]]) -> Iterator[tuple[int, _Terms]]:
    """Without what holds for no time, and without changes that change nothing."""
    before: _Terms | None = None
    waiting: tuple[int, _Terms] | None = None
    for at, term in terms:
        if waiting is not None and waiting[0] < at and waiting[1] != before:
            yield waiting
            before = waiting[1]
        waiting = (at, term)
    if waiting is not None and waiting[1] != before:
        yield waiting


def _weekday(day: int, holidays: frozenset[date]) -> int:
    """The weekday that a day (number since 1970) counts as, 0 = Monday."""
    if holidays and 0 < day + _1970 <= date.max.toordinal() and date.fromordinal(day + _1970) in holidays:
        return SUNDAY
    return (day + _THURSDAY) % 7


def _since(schedule: Schedule) -> tuple[bool, int]:
    return (schedule.effective_from is not None, schedule.effective_from or 0)


def _refuse_overlaps(schedules: tuple[Schedule, ...]) -> None:
    numbered = sorted(enumerate(schedules, start=1), key=lambda one: _since(one[1]))
    for (first, earlier), (second, later) in pairwise(numbered):
        since, until = later.effective_from, earlier.effective_until
        if since is None or until is None or until > since:
            shown = "all time" if since is None else rfc3339(since)
            raise BadValue(
                "bad_tariff",
                f"Schedules {first} and {second} are both in effect at {shown}. End each (effective_until) where the "
                "next begins (effective_from).",
            )
