"""The document that OpenRouter polls from its providers: rows of prices, capacity, discounts."""

import pytest

from lowtide.market.offer import Capacity
from lowtide.market.quote import PriceStep
from lowtide.values.instants import HOUR_US, MINUTE_US
from tests.unit.feeds.formats.snapshots import NOW, hours, read


def row(type, cost, unit="token", **changes):
    return {"type": type, "unit": unit, "cost_usd": cost, **changes}


PLAIN = (row("prompt", "0.000001"), row("completion", "0.000002"))


def model(*pricing, **changes):
    return {
        "id": "acme/one",
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "context_length": 131_072,
        "max_output_length": 8_192,
        "pricing": list(pricing or PLAIN),
        **changes,
    }


def one(*pricing, **changes):
    reading = read({"data": [model(*pricing, **changes)]})
    assert reading.format == "openrouter_provider"
    assert reading.refused == ()
    return reading.listings[0]


def refused(*pricing, **changes):
    return read({"data": [model(*pricing, **changes)]}).refused[0]


def test_rows_become_prices_and_those_of_images_and_seconds_are_left_out():
    prices = (
        one(
            *PLAIN,
            row("cached_prompt", "0.0000001"),
            row("cache_write", "0.000002", ttl_seconds=3_600),
            row("cache_write", "0.00000125", ttl_seconds=300),
            row("request", "0.002", "request"),
            row("prompt", "0.01", "image"),
            row("completion", "0.02", "second"),
            row("web_search", "0.01", "search"),
        )
        .quotes[0]
        .prices
    )
    assert (prices.input, prices.output, prices.cached_input) == (1_000_000_000, 2_000_000_000, 100_000_000)
    # The market's cache-write price is that of the shortest life.
    assert (prices.cache_write, prices.per_request) == (1_250_000_000, 2_000_000)


def test_a_length_from_so_many_tokens_on_is_a_step_above_one_less():
    long = {"when": {"prompt_tokens": {"gte": 200_000}}, "cost_usd": "0.000003"}
    prices = one(row("prompt", "0.000001", overrides=[long]), PLAIN[1]).quotes[0].prices
    assert prices.steps == (PriceStep(199_999, input=3_000_000_000),)


def test_conditions_on_the_length_alone_are_quoted_however_they_are_combined():
    def steps(when):
        override = {"when": when, "cost_usd": "0.000003"}
        return one(row("prompt", "0.000001", overrides=[override]), PLAIN[1]).quotes[0].prices.steps

    above = {"prompt_tokens": {"gte": 100}}
    assert steps({"allOf": [above, {"prompt_tokens": {"gte": 200}}]}) == (
        PriceStep(199, input=3_000_000_000),
    )
    assert steps({"anyOf": [above, {"prompt_tokens": {"gte": 200}}]}) == (PriceStep(99, input=3_000_000_000),)
    assert steps({"not": {"prompt_tokens": {"lte": 99}}}) == (PriceStep(99, input=3_000_000_000),)
    assert steps({"prompt_tokens": {"gte": 100, "lt": 200}}) == (
        PriceStep(99, input=3_000_000_000),
        PriceStep(199, input=1_000_000_000),
    )


@pytest.mark.parametrize(
    "when",
    [
        {"completion_tokens": {"gte": 5}},
        {"prompt_tokens": {"gte": 5}, "region": "eu"},
        {"anyOf": [{"prompt_tokens": {"gte": 5}}, {"weekday": "sat"}]},
        {"not": {"tier": "gold"}},
        {"prompt_tokens": {"between": [1, 2]}},
        {},
        {"allOf": []},
    ],
)
def test_a_condition_that_cannot_be_quoted_exactly_refuses_its_entry(when):
    override = {"when": when, "cost_usd": "0.000003"}
    fault = refused(row("prompt", "0.000001", overrides=[override]), PLAIN[1])
    assert fault.code == "unsupported_condition"
    assert fault.pointer.startswith("/data/0/pricing/0/overrides/0/when")


def test_rows_for_hours_of_the_day_hold_there_and_the_one_without_hours_otherwise():
    listing = one(
        PLAIN[0],
        row("completion", "0.000001", utc_start="22:00", utc_end="06:00"),
        row("completion", "0.000002"),
    )
    reading = read({"data": [model(*PLAIN, row("completion", "0.000001", utc_start=2200, utc_end=600))]})
    assert hours(reading)[:3] == [
        ("25 00:30", 1_000_000_000),
        ("25 06:00", 2_000_000_000),
        ("25 22:00", 1_000_000_000),
    ]
    assert [q.prices for q in listing.quotes] == [q.prices for q in reading.listings[0].quotes]


def test_a_discount_to_the_user_lowers_every_price_and_a_negative_one_raises_it():
    lower, higher = one(discount_to_user=0.25), one(discount_to_user=-0.1)
    assert (lower.quotes[0].prices.input, lower.quotes[0].prices.output) == (750_000_000, 1_500_000_000)
    assert (higher.quotes[0].prices.input, higher.quotes[0].prices.output) == (1_100_000_000, 2_200_000_000)
    assert refused(discount_to_user=1).code == "out_of_range"


def test_capacity_is_per_minute_rounded_down_and_the_least_counts():
    listing = one(
        capacity=[
            {"type": "requests", "unit": "request", "per": "hour", "value": 1_000},
            {"type": "tokens", "unit": "token", "per": "day", "value": 10_000_000},
            {"type": "tokens", "unit": "token", "per": "minute", "value": 9_000},
            {"type": "concurrency", "value": 12},
        ]
    )
    assert listing.capacity == Capacity(12, 16, 6_944)
    assert one(capacity=[{"concurrency": 3}]).capacity == Capacity(3)
    assert one(capacity=[{"unit": "request", "per": "day", "value": 100}]).capacity == Capacity(None, 1)


def test_datacenters_are_regions_and_zero_retention_is_what_compliance_says():
    listing = one(datacenters=["US", {"country_code": "DE"}], compliance={"zdr": True, "hipaa": False})
    assert (listing.regions, listing.zero_retention) == (("us", "de"), True)
    assert (one().regions, one().zero_retention) == ((), False)


def test_a_free_model_costs_nothing_and_one_that_is_not_ready_is_skipped():
    free = one(is_free=True).quotes[0].prices
    assert (free.input, free.output, free.known) == (0, 0, True)
    assert read({"data": [model(is_ready=False)]}).skipped == (("not ready", 1),)


def test_quotes_end_on_the_deprecation_date():
    listing = one(deprecation_date="2026-11-26")
    assert listing.quotes[-1].valid_until == NOW + 23 * HOUR_US + 30 * MINUTE_US
    assert read({"data": [model(deprecation_date="2025-01-01")]}).skipped == (("deprecated", 1),)


def test_features_limits_and_modalities_are_those_of_the_document():
    listing = one(supported_features=["tools", "json_mode"], supported_sampling_parameters=["seed", "top_p"])
    assert listing.features == ("tools", "json_object", "seed", "streaming")
    assert (listing.context_window, listing.max_output_tokens) == (131_072, 8_192)


def test_a_price_per_million_tokens_a_missing_cost_and_a_row_without_type_are_refused():
    assert refused(row("prompt", "1"), PLAIN[1]).code == "price_unit"
    assert refused(row("prompt", None), PLAIN[1]).pointer == "/data/0/pricing/0/cost_usd"
    assert refused({"prompt": "0.000001"}).pointer == "/data/0/pricing/0/type"
    assert refused(row("prompt", "-1"), PLAIN[1]).code == "negative_price"
    assert read({"data": [model(row("prompt", "1"), PLAIN[1]), model(id="b")]}).listings[0].model == "b"


def test_prices_that_are_no_rows_are_refused_by_name_and_not_read_as_another_format():
    entry = model(pricing={"prompt": "0.000001", "completion": "0.000002"}, is_ready=True)
    reading = read({"data": [entry]})
    assert (reading.format, reading.listings) == ("openrouter_provider", ())
    assert (reading.refused[0].pointer, reading.refused[0].code) == ("/data/0/pricing", "wrong_type")
    assert "list of rows" in reading.refused[0].message


def test_patterns_match_the_market_s_name():
    assert read({"data": [model()]}, include=("one",)).models == 1
    assert read({"data": [model()]}, exclude=("one",)).models == 0
