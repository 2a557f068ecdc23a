"""Tariffs of any shape, over clock changes, against the rule read aloud."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices, PriceStep, Quote, effective_quote
from lowtide.market.tariff import EVERY_DAY, Schedule, Tariff, Window, expand, scaled
from lowtide.market.usage import Usage, charge
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, SECOND_US, instant, micros

BASE = Prices(1_000_000_000, 2_000_000_000, 300_000_000, steps=(PriceStep(1_000, input=2_000_000_000),))
OTHERS = (Prices(0, 0), Prices(3_000_000_000, 100_000_000, per_request=7), Prices(5, None))
# Days on which a clock is put forward or back, and some on which none is.
TURNS = {
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 4, 5), date(2026, 10, 4)),  # half an hour
    "America/Sao_Paulo": (date(2018, 2, 18), date(2018, 11, 4)),  # at midnight
    "Africa/Casablanca": (date(2026, 2, 15), date(2026, 3, 22)),  # back for Ramadan
    "Asia/Kolkata": (date(2026, 6, 1),),
    "UTC": (date(2026, 12, 31),),
}
ONE_CALL = Usage(1_200, 300, cached=100)

minutes = st.one_of(st.integers(0, 1_439), st.sampled_from((0, 60, 90, 120, 150, 180, 1_380)))
capacities = st.sampled_from((None, Capacity(concurrency=0), Capacity(requests_per_minute=60)))
weekdays = st.one_of(st.just(EVERY_DAY), st.frozensets(st.integers(0, 6), min_size=1))
windows = st.one_of(
    st.builds(
        Window,
        minutes,
        minutes,
        weekdays,
        multiplier_ppm=st.sampled_from((0, 450_000, 1_000_000, 2_000_000)),
        capacity=capacities,
    ),
    st.builds(Window, minutes, minutes, weekdays, prices=st.sampled_from(OTHERS), capacity=capacities),
)


@st.composite
def tariffs(draw: st.DrawFn) -> tuple[Tariff, int]:
    """A tariff, and the UTC midnight (µs) of a day near which much may change."""
    zone = draw(st.sampled_from(sorted(TURNS)))
    day = draw(st.sampled_from(TURNS[zone])) + timedelta(days=draw(st.integers(-1, 1)))
    midnight = micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
    near = st.integers(-1, 1).map(lambda days: day + timedelta(days=days))
    holidays = st.frozensets(near, max_size=2)
    # Two schedules, with a gap between them or none.
    edges = sorted(draw(st.lists(st.integers(-24 * 60, 48 * 60), min_size=2, max_size=2)))
    inner = [midnight + edge * MINUTE_US for edge in edges]
    schedules = [
        Schedule(
            tuple(draw(st.lists(windows, min_size=1, max_size=5))),
            draw(st.sampled_from((None, zone, "UTC", "Asia/Shanghai"))),
            draw(st.one_of(st.none(), holidays)),
            begin,
            end,
        )
        for begin, end in ((None, inner[0]), (inner[1], None))
    ]
    billed = draw(st.sampled_from(("start", "completion")))
    longest = draw(st.sampled_from((1, 600, 4 * 3_600, 86_400))) * SECOND_US
    return (
        Tariff(
            zone, holidays=draw(holidays), schedules=tuple(schedules), billed=billed, longest_call_us=longest
        ),
        midnight,
    )


def aloud(tariff: Tariff, at: int) -> tuple[Prices, Capacity | None]:
    """Look for the schedule of the day, at the seller's clock, through the windows."""
    for schedule in tariff.schedules:
        if schedule.effective_from is not None and at < schedule.effective_from:
            continue
        if schedule.effective_until is not None and at >= schedule.effective_until:
            continue
        clock = instant(at).astimezone(ZoneInfo(schedule.zone or tariff.zone)).replace(tzinfo=None)
        holidays = tariff.holidays if schedule.holidays is None else schedule.holidays
        for window in schedule.windows:
            for back in (0, 1):
                day = clock.date() - timedelta(days=back)
                began = datetime.combine(day, time()) + timedelta(minutes=window.start)
                ends = datetime.combine(day, time()) + timedelta(minutes=window.end)
                if window.end <= window.start:
                    ends += timedelta(days=1)
                weekday = 6 if day in holidays else day.weekday()
                if weekday in window.weekdays and began <= clock < ends:
                    prices = window.prices or scaled(BASE, window.multiplier_ppm or 0)
                    return prices, window.capacity
    return BASE, None


def sampled(quotes: tuple[Quote, ...], start: int, end: int) -> list[int]:
    """Both sides of every edge, and every quarter of an hour."""
    edges = [at for quote in quotes for at in (quote.valid_from, quote.valid_from - 1)]
    return [at for at in [*edges, *range(start, end, 15 * MINUTE_US), end - 1] if start <= at < end]


@settings(deadline=None, max_examples=150)
@given(tariffs(), st.integers(-30 * 60, 30 * 60), st.integers(1, 3 * 24 * 60))
def test_quotes_tile_the_range_and_are_the_sellers_price_at_every_instant(made, offset, length):
    tariff, midnight = made
    start = midnight + offset * MINUTE_US + 1
    end = start + length * MINUTE_US
    quotes = expand(tariff, BASE, start, end, 3)
    assert (quotes[0].valid_from, quotes[-1].valid_until) == (start, end)
    for earlier, later in itertools.pairwise(quotes):
        assert earlier.valid_from < earlier.valid_until == later.valid_from
        assert (earlier.prices, earlier.capacity) != (later.prices, later.capacity)
    for at in sampled(quotes, start, end):
        prices, capacity = aloud(tariff, at)
        quote = effective_quote(quotes, at)
        assert tariff.prices_at(BASE, at) == prices
        assert quote.capacity == capacity
        if tariff.billed == "start":
            assert quote.prices == prices


@settings(deadline=None, max_examples=150)
@given(tariffs(), st.integers(-30 * 60, 30 * 60), st.lists(st.integers(0, 36 * 60 - 1), max_size=20))
def test_a_call_billed_at_its_completion_never_costs_more_than_its_quote_and_the_quote_is_no_dearer_than_need_be(
    made, offset, minutes_in
):
    tariff, midnight = made
    tariff = replace(tariff, billed="completion")
    start = midnight + offset * MINUTE_US
    end = start + 36 * HOUR_US
    quotes = expand(tariff, BASE, start, end, 1)
    ahead = expand(_billed_at_start(tariff), BASE, start, end + tariff.reach_us + 1, 1)
    for at in (start, end - 1, *(start + minute * MINUTE_US for minute in minutes_in)):
        quoted = effective_quote(quotes, at).prices
        met = [
            quote.prices
            for quote in ahead
            if quote.valid_from <= at + tariff.reach_us and quote.valid_until > at
        ]
        if not all(prices.known for prices in met):
            assert not quoted.known
            continue
        assert charge(quoted, ONE_CALL) >= max(charge(prices, ONE_CALL) for prices in met)
        assert quoted.input == max(prices.input for prices in met)
        assert quoted.output == max(prices.output for prices in met)
        assert quoted.per_request == max(prices.per_request for prices in met)


def _billed_at_start(tariff: Tariff) -> Tariff:
    return replace(tariff, billed="start")


@settings(deadline=None, max_examples=60)
@given(tariffs(), st.integers(-(10**18), 10**18))
def test_an_odd_instant_has_a_price_too(made, odd):
    tariff, _ = made
    assert tariff.prices_at(BASE, odd) == expand(_billed_at_start(tariff), BASE, odd, odd + 1, 1)[0].prices


def test_a_year_of_weeks_is_expanded_in_milliseconds():
    tariff = Tariff("Europe/Berlin", (Window(1_320, 360, multiplier_ppm=450_000),))
    start = micros(datetime(2026, 1, 1, tzinfo=UTC))
    assert len(expand(tariff, BASE, start, start + 365 * DAY_US, 1)) == 731
