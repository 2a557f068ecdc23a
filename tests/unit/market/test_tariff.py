"""Tariffs: clock schedules in a seller's zone, as UTC quotes (MARKET.md E10)."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices, PriceStep, effective_quote
from lowtide.market.tariff import Schedule, Tariff, Window, expand, scaled
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, instant, micros

BASE = Prices(input=1_000, output=2_000)
CHEAP = Prices(input=10, output=20)
FREE = Prices(input=0, output=0)
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def local_day(day: date, zone: str) -> tuple[int, int]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    after = day + timedelta(days=1)
    return (
        micros(midnight.astimezone(UTC)),
        micros(datetime(after.year, after.month, after.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)),
    )


def cheap_time(tariff: Tariff, start: int, end: int) -> int:
    return sum(
        (quote.valid_until or end) - quote.valid_from
        for quote in expand(tariff, BASE, start, end, 1)
        if quote.prices == CHEAP
    )


@pytest.mark.parametrize(
    ("day", "hours", "window_hours"), [(SPRING, 23, 0), (AUTUMN, 25, 2), (date(2026, 6, 1), 24, 1)]
)
def test_e10_the_hour_that_the_clock_skips_has_no_length_and_the_one_it_repeats_has_two(
    day, hours, window_hours
):
    start, end = local_day(day, "Europe/Berlin")
    tariff = Tariff("Europe/Berlin", (Window(120, 180, prices=CHEAP),))
    assert end - start == hours * HOUR_US
    assert cheap_time(tariff, start, end) == window_hours * HOUR_US


def test_a_window_that_wraps_midnight_belongs_to_the_day_it_starts_on():
    friday_night = Tariff("UTC", (Window(22 * 60, 6 * 60, frozenset({4}), prices=CHEAP),))
    cheap = [
        quote
        for quote in expand(friday_night, BASE, at("2026-11-23"), at("2026-11-30"), 1)
        if quote.prices == CHEAP
    ]
    assert [(q.valid_from, q.valid_until) for q in cheap] == [
        (at("2026-11-27T22:00"), at("2026-11-28T06:00"))
    ]


def test_a_window_whose_end_is_its_start_lasts_the_whole_day():
    weekend = Tariff("UTC", (Window(0, 0, frozenset({5, 6}), prices=CHEAP),))
    assert cheap_time(weekend, at("2026-11-23"), at("2026-11-30")) == 2 * DAY_US


def test_the_first_window_that_matches_wins():
    tariff = Tariff("UTC", (Window(60, 120, prices=CHEAP), Window(0, 0, multiplier_ppm=500_000)))
    quotes = expand(tariff, BASE, at("2026-11-25"), at("2026-11-26"), 7)
    assert [q.prices for q in quotes] == [scaled(BASE, 500_000), CHEAP, scaled(BASE, 500_000)]
    assert {q.sequence for q in quotes} == {7}


def test_a_holiday_counts_as_a_sunday():
    wednesday = frozenset({date(2026, 11, 25)})
    workdays = Tariff("UTC", (Window(0, 0, frozenset(range(5)), prices=CHEAP),), holidays=wednesday)
    sundays = Tariff("UTC", (Window(0, 0, frozenset({6}), prices=CHEAP),), holidays=wednesday)
    start, end = at("2026-11-25"), at("2026-11-26")
    assert cheap_time(workdays, start, end) == 0
    assert cheap_time(sundays, start, end) == DAY_US


def test_the_night_after_a_holiday_is_still_the_holidays_and_the_night_before_is_not():
    nights = Tariff(
        "Asia/Shanghai",
        (Window(22 * 60, 6 * 60, frozenset(range(5)), prices=CHEAP),),
        frozenset({date(2026, 10, 1)}),
    )
    # Shanghai is eight hours ahead: 22:00 there is 14:00 UTC, 06:00 is 22:00 UTC the day before.
    for start in (
        "2026-09-30",
        "2026-09-30T15:00",
        "2026-09-30T23:00",
        "2026-10-01T15:00",
        "2026-10-01T20:00",
    ):
        quotes = expand(nights, BASE, at(start), at("2026-10-03"), 1)
        cheap = [(q.valid_from, q.valid_until) for q in quotes if q.prices == CHEAP]
        assert [span for span in cheap if span[0] > at("2026-09-30T16:00")] == [
            (at("2026-10-02T14:00"), at("2026-10-02T22:00"))
        ]
    assert nights.prices_at(BASE, at("2026-09-30T21:59")) == CHEAP
    assert nights.prices_at(BASE, at("2026-10-01T21:59")) == BASE


def test_the_weekday_is_the_sellers_not_utcs():
    fridays = Tariff("Asia/Shanghai", (Window(0, 0, frozenset({4}), prices=CHEAP),))
    cheap = [q for q in expand(fridays, BASE, at("2026-11-23"), at("2026-11-30"), 1) if q.prices == CHEAP]
    assert [(q.valid_from, q.valid_until) for q in cheap] == [
        (at("2026-11-26T16:00"), at("2026-11-27T16:00"))
    ]


def test_outside_its_effective_time_the_base_prices_hold():
    tariff = Tariff(
        "UTC",
        (Window(0, 0, prices=CHEAP),),
        effective_from=at("2026-11-25T12:00"),
        effective_until=at("2026-11-25T18:00"),
    )
    quotes = expand(tariff, BASE, at("2026-11-25"), at("2026-11-26"), 1)
    assert [q.prices for q in quotes] == [BASE, CHEAP, BASE]
    assert [q.valid_from for q in quotes[1:]] == [at("2026-11-25T12:00"), at("2026-11-25T18:00")]


def test_multiplied_prices_round_up_and_keep_what_is_unknown_unknown():
    prices = Prices(input=3, output=None, per_request=1, steps=(PriceStep(200_000, input=5),))
    assert scaled(prices, 500_000) == Prices(
        input=2, output=None, per_request=1, steps=(PriceStep(200_000, input=3),)
    )


def test_an_empty_range_has_no_quotes():
    assert expand(Tariff("UTC", (Window(0, 0, prices=CHEAP),)), BASE, 5, 5, 1) == ()


minutes = st.integers(0, 1439)
windows = st.builds(
    Window, minutes, minutes, st.frozensets(st.integers(0, 6)), st.sampled_from((400_000, 700_000, 1_000_000))
)
days = st.dates(date(2026, 1, 1), date(2026, 12, 30))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu")


def brute(tariff: Tariff, minute: datetime) -> Prices:
    """The rule read aloud: look at the seller's clock, go through the windows."""
    for window in tariff.windows:
        for back in (0, 1):
            day = minute.date() - timedelta(days=back)
            clock = minute.hour * 60 + minute.minute + back * 1440
            end = window.end if window.end > window.start else window.end + 1440
            weekday = 6 if day in tariff.holidays else day.weekday()
            if weekday in window.weekdays and window.start <= clock < end:
                return scaled(BASE, window.multiplier_ppm)
    return BASE


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(ZONES),
    st.lists(windows, max_size=4),
    st.one_of(
        days, st.sampled_from((SPRING, AUTUMN, date(2026, 4, 5), date(2026, 4, 24), date(2026, 11, 1)))
    ),
    st.integers(0, 1439),
    st.integers(1, 2_000),
    st.booleans(),
)
def test_expanding_tiles_the_range_and_agrees_with_the_sellers_clock_minute_by_minute(
    zone, schedule, day, first_minute, length, holiday
):
    tariff = Tariff(zone, tuple(schedule), frozenset({day} if holiday else ()))
    start = micros(datetime(day.year, day.month, day.day, tzinfo=UTC)) + (first_minute - 720) * MINUTE_US
    end = start + length * MINUTE_US
    quotes = expand(tariff, BASE, start, end, 1)
    assert quotes[0].valid_from == start
    assert quotes[-1].valid_until == end
    for earlier, later in itertools.pairwise(quotes):
        assert earlier.valid_until == later.valid_from
        assert earlier.prices != later.prices
    for moment in range(start, end, MINUTE_US):
        assert effective_quote(quotes, moment).prices == brute(
            tariff, instant(moment).astimezone(ZoneInfo(zone))
        )


OLD = Schedule((Window(60, 120, prices=CHEAP),), effective_until=at("2026-08-23"))
NEW = Schedule((Window(60, 180, prices=FREE),), effective_from=at("2026-09-01"), zone="Europe/Berlin")


def test_an_old_call_is_priced_by_the_schedule_of_its_day():
    tariff = Tariff("UTC", schedules=(NEW, OLD))
    assert tariff.prices_at(BASE, at("2026-08-22T01:30")) == CHEAP
    assert tariff.prices_at(BASE, at("2026-08-25T01:30")) == BASE
    assert tariff.prices_at(BASE, at("2026-09-02T00:30")) == FREE
    assert tariff.prices_at(BASE, at("2026-08-31T23:30")) == BASE
    assert tariff.prices_at(BASE, at("2026-09-01T23:30")) == FREE


def test_schedules_that_are_in_effect_at_once_are_refused():
    with pytest.raises(
        BadValue, match="Schedules 2 and 1 are both in effect at 2026-08-22T00:00:00Z"
    ) as refused:
        Tariff("UTC", schedules=(replace(NEW, effective_from=at("2026-08-22")), OLD))
    assert refused.value.code == "bad_tariff"


def test_a_call_that_ends_beyond_a_boundary_is_quoted_at_the_price_it_may_meet_there():
    night = Tariff(
        "UTC", (Window(60, 120, prices=CHEAP),), billed="completion", longest_call_us=10 * MINUTE_US
    )
    quotes = expand(night, BASE, at("2026-11-25"), at("2026-11-26"), 1)
    cheap = [(q.valid_from, q.valid_until) for q in quotes if q.prices == CHEAP]
    assert cheap == [(at("2026-11-25T01:00"), at("2026-11-25T01:50"))]
    by_start = replace(night, billed="start")
    cheap = [q for q in expand(by_start, BASE, at("2026-11-25"), at("2026-11-26"), 1) if q.prices == CHEAP]
    assert [(q.valid_from, q.valid_until) for q in cheap] == [
        (at("2026-11-25T01:00"), at("2026-11-25T02:00"))
    ]


def test_what_is_sold_in_a_window_stands_in_its_quotes_even_where_the_price_is_the_same():
    closed = Capacity(concurrency=0)
    tariff = Tariff("UTC", (Window(60, 120, multiplier_ppm=1_000_000, capacity=closed),))
    quotes = expand(tariff, BASE, at("2026-11-25"), at("2026-11-26"), 1)
    assert [(q.prices, q.capacity) for q in quotes] == [(BASE, None), (BASE, closed), (BASE, None)]
