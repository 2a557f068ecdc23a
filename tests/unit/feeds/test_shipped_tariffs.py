"""What the shipped tariffs cost, at named instants."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowtide.feeds.providers import load_tariff
from lowtide.market.offer import Capacity
from lowtide.market.quote import Prices, effective_quote
from lowtide.market.tariff import expand
from lowtide.values.errors import SetupError
from lowtide.values.instants import instant, micros

TARIFFS = Path(__file__).parents[3] / "config" / "tariffs"
BASE = Prices(input=1_000, output=2_000)


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


COSTS = {
    "deepseek": [
        ("2026-08-16T15:59", 1_000),  # before the clock: the base
        ("2026-08-16T16:00", 500),
        ("2026-08-22T02:00", 1_000),  # a Saturday of the first schedule, which has peaks on every day
        ("2026-08-22T16:00", 500),
        ("2026-08-23T02:00", 500),  # Sunday
        ("2026-08-24T02:00", 1_000),  # Monday
        ("2026-09-25T02:00", 500),  # Mid-Autumn, a Friday
        ("2026-10-01T07:00", 500),  # National Day, a Thursday
        ("2026-10-08T07:00", 1_000),  # the first workday after
        ("2026-10-10T07:00", 500),  # a Saturday worked in place of a holiday
        ("2026-11-25T00:59:59", 500),
        ("2026-11-25T01:00", 1_000),
        ("2026-11-25T03:59:59", 1_000),
        ("2026-11-25T04:00", 500),
        ("2026-11-25T06:00", 1_000),
        ("2026-11-25T10:00", 500),
        ("2026-11-27T18:00", 500),
        ("2027-01-01T02:00", 500),  # New Year's Day, a Friday
    ],
    "night": [
        ("2026-11-25T20:59", 1_000),
        ("2026-11-25T21:00", 450),  # 22:00 in Berlin, in winter
        ("2026-11-26T04:59", 450),
        ("2026-11-26T05:00", 1_000),
        ("2026-07-01T20:00", 450),  # 22:00 in Berlin, in summer
        ("2026-07-01T04:00", 1_000),
    ],
    "weekend": [
        ("2026-11-27T22:59", 1_000),
        ("2026-11-27T23:00", 600),  # Saturday 00:00 in Berlin
        ("2026-11-29T22:59", 600),
        ("2026-11-29T23:00", 1_000),
        ("2026-12-25T12:00", 600),  # Christmas Day, a Friday
        ("2026-12-28T12:00", 1_000),
    ],
}


def test_every_shipped_tariff_reads_and_is_priced_below():
    assert {path.stem for path in TARIFFS.glob("*.toml")} == set(COSTS)


@pytest.mark.parametrize(
    ("name", "moment", "cost"), [(name, *one) for name, costs in COSTS.items() for one in costs]
)
def test_a_shipped_tariff_costs_what_its_seller_says(name, moment, cost):
    assert load_tariff(TARIFFS / f"{name}.toml").prices_at(BASE, at(moment)).input == cost


def test_deepseeks_peak_is_thirty_five_hours_a_week_and_quoted_ten_minutes_before_it_begins():
    tariff = load_tariff(TARIFFS / "deepseek.toml")
    quotes = expand(tariff, BASE, at("2026-11-23"), at("2026-11-30"), 1)
    peaks = [(instant(q.valid_from), instant(q.valid_until)) for q in quotes if q.prices == BASE]
    assert len(peaks) == 10
    assert {(f"{a:%H:%M}", f"{b:%H:%M}") for a, b in peaks} == {("00:50", "04:00"), ("05:50", "10:00")}
    assert {(q.prices.input, q.prices.output) for q in quotes} == {(1_000, 2_000), (500, 1_000)}


def test_the_weekend_sells_eight_calls_at_once_and_the_week_says_nothing():
    quotes = expand(load_tariff(TARIFFS / "weekend.toml"), BASE, at("2026-11-25"), at("2026-12-02"), 1)
    assert effective_quote(quotes, at("2026-11-28T12:00")).capacity == Capacity(concurrency=8)
    assert effective_quote(quotes, at("2026-11-30T12:00")).capacity is None


def test_a_wrong_tariff_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "acme.toml"
    path.write_text('zone = "Mars/Olympus"')
    with pytest.raises(SetupError, match=r"acme\.toml: 'Mars/Olympus' is no IANA time zone"):
        load_tariff(path)
