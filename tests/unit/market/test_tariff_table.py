"""Tariffs as people write them."""

from datetime import UTC, date, datetime

import pytest

from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices
from lowtide.market.tariff import EVERY_DAY, Schedule, Window
from lowtide.market.tariff_table import tariff_from_table
from lowtide.values.errors import BadValue
from lowtide.values.instants import micros


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def test_a_table_reads_days_prices_and_times():
    tariff = tariff_from_table(
        {
            "zone": "Asia/Shanghai",
            "holidays": ["2026-10-01"],
            "effective_from": "2026-11-01",
            "effective_until": "2026-12-01T00:00:00Z",
            "windows": [
                {
                    "days": ["sat-mon", "wed"],
                    "start": "23:30",
                    "end": "01:00",
                    "prices": {"input_per_mtok": "0.30", "output_per_mtok": "1.20", "per_request": "0.001"},
                }
            ],
        }
    )
    assert tariff.windows == (
        Window(
            1410,
            60,
            frozenset({0, 2, 5, 6}),
            prices=Prices(300_000_000, 1_200_000_000, per_request=1_000_000),
        ),
    )
    assert tariff.effective_from == at("2026-10-31T16:00")
    assert tariff.effective_until == at("2026-12-01")
    assert tariff.holidays == {date(2026, 10, 1)}


def test_a_window_without_days_holds_every_day():
    table = {"zone": "UTC", "windows": [{"start": "01:00", "end": "02:00", "multiplier": "0.45"}]}
    assert tariff_from_table(table).windows == (Window(60, 120, EVERY_DAY, multiplier_ppm=450_000),)


WINDOW = {"start": "01:00", "end": "02:00", "multiplier": "0.5"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"zone": "Mars/Olympus", "windows": [WINDOW]}, "no IANA time zone"),
        ({"windows": [WINDOW]}, "zone is missing"),
        ({"zone": "UTC"}, "at least one window"),
        ({"zone": "UTC", "windows": [WINDOW], "colour": 1}, "no field 'colour'"),
        ({"zone": "UTC", "windows": [WINDOW | {"start": "25:00"}]}, "start of window 1"),
        ({"zone": "UTC", "windows": [WINDOW | {"start": 60}]}, "start of window 1"),
        ({"zone": "UTC", "windows": [WINDOW | {"start": "01:00:30"}]}, "hours and minutes"),
        ({"zone": "UTC", "windows": [WINDOW | {"days": ["someday"]}]}, "no weekday"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": 0.5}]}, "decimal string"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "-1"}]}, "decimal string from 0 to 100"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "half"}]}, "decimal string"),
        ({"zone": "UTC", "windows": [WINDOW | {"prices": {}}]}, "not both"),
        (
            {
                "zone": "UTC",
                "windows": [{"start": "01:00", "end": "02:00", "prices": {"input_per_mtok": "1"}}],
            },
            "output_per_mtok",
        ),
        (
            {
                "zone": "UTC",
                "windows": [
                    {
                        "start": "01:00",
                        "end": "02:00",
                        "prices": {"input_per_mtok": "1", "output_per_mtok": "-1"},
                    }
                ],
            },
            "from 0 to 1000",
        ),
        ({"zone": "UTC", "windows": [WINDOW], "holidays": ["soon"]}, "no date"),
        ({"zone": "UTC", "windows": [WINDOW], "effective_from": "2026-11-01T10:00:00"}, "no zone"),
    ],
)
def test_a_wrong_table_is_refused_and_says_what_to_do(table, words):
    with pytest.raises(BadValue, match=words):
        tariff_from_table(table)


def half(**fields):
    return {"windows": [WINDOW], **fields}


def test_schedules_follow_each_other_and_take_zone_and_holidays_from_the_tariff_where_they_have_none():
    tariff = tariff_from_table(
        {
            "zone": "Asia/Shanghai",
            "holidays": [date(2026, 10, 1)],
            "schedules": [
                half(effective_until="2026-08-23"),
                half(effective_from=date(2026, 8, 23), zone="UTC", holidays=[]),
            ],
        }
    )
    first, second = tariff.schedules
    window = Window(60, 120, multiplier_ppm=500_000)
    assert first == Schedule((window,), None, None, None, at("2026-08-22T16:00"))
    assert second == Schedule((window,), "UTC", frozenset(), at("2026-08-23"))


def test_a_window_may_say_what_is_sold_then_and_a_tariff_what_a_call_over_a_boundary_costs():
    table = {
        "zone": "UTC",
        "billed": "completion",
        "longest_call_s": 90,
        "windows": [WINDOW | {"capacity": {"concurrency": 0, "tokens_per_minute": 5_000}}],
    }
    tariff = tariff_from_table(table)
    assert tariff.windows[0].capacity == Capacity(concurrency=0, tokens_per_minute=5_000)
    assert (tariff.billed, tariff.longest_call_us, tariff.reach_us) == ("completion", 90_000_000, 90_000_000)
    assert tariff_from_table({"zone": "UTC", "windows": [WINDOW]}).reach_us == 0


def test_a_price_per_token_is_named_as_the_wrong_unit():
    prices = {"input_per_mtok": "0.0000003", "output_per_mtok": "1"}
    with pytest.raises(BadValue, match="per token") as refused:
        tariff_from_table({"zone": "UTC", "windows": [{"start": "01:00", "end": "02:00", "prices": prices}]})
    assert refused.value.code == "price_unit"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"zone": "UTC", "schedules": []}, "1 to 32 tables"),
        ({"zone": "UTC", "schedules": [half()] * 33}, "1 to 32 tables"),
        ({"zone": "UTC", "schedules": [half(), half()]}, "both in effect"),
        (
            {
                "zone": "UTC",
                "schedules": [half(effective_until="2026-09-02"), half(effective_from="2026-09-01")],
            },
            "both in effect at 2026-09-01T00:00:00Z",
        ),
        ({"zone": "UTC", "schedules": [half(colour=1)]}, "Schedule 1 has no field 'colour'"),
        ({"zone": "UTC", "schedules": [half(billed="start")]}, "Schedule 1 has no field 'billed'"),
        ({"zone": "UTC", "schedules": ["always"]}, "Schedule 1 must be a table"),
        ({"zone": "UTC", "schedules": [half()], "windows": [WINDOW]}, "no windows of its own"),
        (half(zone="UTC", effective_from="2026-09-02", effective_until="2026-09-02"), "must lie after"),
        (half(zone="UTC", billed="middle"), "billed must be one of start, completion"),
        (half(zone="UTC", longest_call_s=0), "longest_call_s must be whole seconds"),
        (half(zone="UTC", longest_call_s=86_401), "longest_call_s must be whole seconds"),
        (half(zone="UTC", holidays="2026-10-01"), "holidays must be a list"),
        ({"zone": "UTC", "windows": [WINDOW] * 65}, "65 windows are more than 64"),
        ({"zone": "UTC", "windows": [WINDOW | {"capacity": {}}]}, "capacity of window 1 must be a table"),
        ({"zone": "UTC", "windows": [WINDOW | {"capacity": {"places": 1}}]}, "no field 'places'"),
        ({"zone": "UTC", "windows": [WINDOW | {"capacity": {"concurrency": -1}}]}, "whole number"),
        ({"zone": "UTC", "windows": [WINDOW | {"capacity": {"concurrency": True}}]}, "whole number"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "0.1234567"}]}, "at most 6 decimals"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "1e999999999"}]}, "0 to 100"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "1e-999999999"}]}, "0 to 100"),
        ({"zone": "UTC", "windows": [WINDOW | {"multiplier": "NaN"}]}, "decimal string"),
        ({"zone": "../etc/passwd", "windows": [WINDOW]}, "no IANA time zone"),
        ({"zone": "x" * 5_000, "windows": [WINDOW]}, "no IANA time zone"),
        ({"zone": 7, "windows": [WINDOW]}, "no IANA time zone"),
    ],
)
def test_what_a_tariff_cannot_be_is_refused_with_its_place(table, words):
    with pytest.raises(BadValue, match=words):
        tariff_from_table(table)


@pytest.mark.parametrize("odd", ["0001-01-01", "9999-12-31", "9999-12-31T23:59:59-14:00", "10000-01-01", ""])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue"])
def test_dates_at_the_ends_of_time_are_read_or_refused_and_never_break(odd, zone):
    for field in ("effective_from", "effective_until"):
        try:
            tariff = tariff_from_table(half(zone=zone, **{field: odd}))
        except BadValue:
            continue
        now = at("2026-11-25")
        assert tariff.window_at(now) in (None, *tariff.windows)
