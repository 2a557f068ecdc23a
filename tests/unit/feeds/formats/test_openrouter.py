"""OpenRouter's list of models: prices per token as strings, overrides by length and by the hour."""

import pytest

from lowtide.feeds.catalog import catalog_listings
from lowtide.market.quote import PriceStep, effective_quote
from lowtide.market.usage import Usage, charge
from lowtide.values.instants import HOUR_US, MINUTE_US, instant
from tests.unit.feeds.formats.snapshots import NOW, hours, openrouter_models, read


def model(id="acme/one", **changes):
    return {
        "id": id,
        "canonical_slug": id,
        "context_length": 200_000,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.00000025", "completion": "0.00000125"},
        "top_provider": {"max_completion_tokens": 8_192},
        "supported_parameters": ["tools", "response_format", "structured_outputs", "seed", "temperature"],
        **changes,
    }


def priced(*overrides, **prices):
    pricing = {"prompt": "0.000001", "completion": "0.000002", **prices}
    return read({"data": [model(pricing={**pricing, "overrides": list(overrides)})]})


def test_prices_per_token_become_nano_usd_per_million_tokens_exactly():
    pricing = {
        "prompt": "0.00000025",
        "completion": "0.00000125",
        "request": "0.005",
        "input_cache_read": "0.000000025",
        "input_cache_write": "3.125e-7",
        "image": "0.001",
        "discount": 0.5,
    }
    reading = read({"data": [model(pricing=pricing)]})
    (listing,) = reading.listings
    prices = listing.quotes[0].prices
    assert reading.format == "openrouter"
    assert (prices.input, prices.output) == (250_000_000, 1_250_000_000)
    assert (prices.cached_input, prices.cache_write) == (25_000_000, 312_500_000)
    assert prices.per_request == 5_000_000
    assert (listing.model, listing.upstream_model, listing.lane) == ("one", "acme/one", "standard")
    assert (listing.context_window, listing.max_output_tokens) == (200_000, 8_192)
    assert listing.modalities == ("text", "image")
    assert listing.features == ("tools", "json_schema", "json_object", "seed", "streaming")


def test_a_price_finer_than_a_nano_usd_is_rounded_up():
    (listing,) = read({"data": [model(pricing={"prompt": "0.0000000000000001", "completion": "0"})]}).listings
    assert (listing.quotes[0].prices.input, listing.quotes[0].prices.output) == (1, 0)


def test_a_length_override_begins_strictly_above_its_tokens():
    reading = priced({"min_prompt_tokens": 200_000, "prompt": "0.000002"})
    prices = reading.listings[0].quotes[0].prices
    assert prices.steps == (PriceStep(200_000, input=2_000_000_000),)
    assert charge(prices, Usage(200_000, 0)) == 200_000 * 1_000
    assert charge(prices, Usage(200_001, 0)) == 200_001 * 2_000


def test_of_overrides_that_match_the_later_wins_price_by_price_and_the_rest_is_inherited():
    reading = priced(
        {"min_prompt_tokens": 1_000, "prompt": "0.000003", "completion": "0.000006"},
        {"min_prompt_tokens": 500, "prompt": "0.000002"},
        input_cache_read="0.0000001",
    )
    prices = reading.listings[0].quotes[0].prices
    # The entry for 500 comes last, so its prompt price stays even above 1,000.
    assert prices.steps == (
        PriceStep(500, input=2_000_000_000),
        PriceStep(1_000, output=6_000_000_000),
    )
    assert prices.cached_input == 100_000_000


def test_hours_are_half_open_and_wrap_midnight():
    reading = priced(
        {"utc_start": 1630, "utc_end": 30, "completion": "0.000001"},
        {"utc_start": 30, "utc_end": 1630, "completion": "0.000002"},
    )
    assert hours(reading) == [
        ("25 00:30", 2_000_000_000),
        ("25 16:30", 1_000_000_000),
        ("26 00:30", 2_000_000_000),
        ("26 16:30", 1_000_000_000),
    ]
    assert reading.listings[0].quotes[-1].valid_until == NOW + 48 * HOUR_US


def test_hours_and_lengths_combine_in_the_order_of_the_list():
    reading = priced(
        {"min_prompt_tokens": 1_000, "completion": "0.000004"},
        {"utc_start": 1200, "utc_end": 0, "completion": "0.000001"},
        {"utc_start": 1200, "utc_end": 0, "min_prompt_tokens": 5_000, "completion": "0.000003"},
    )
    morning, evening = reading.listings[0].quotes[:2]
    assert f"{instant(evening.valid_from):%H:%M}" == "12:00"
    assert morning.prices.steps == (PriceStep(1_000, output=4_000_000_000),)
    assert evening.prices.output == 1_000_000_000
    # By day the later hourly price beats the earlier long-context one.
    assert evening.prices.steps == (PriceStep(5_000, output=3_000_000_000),)


def test_a_missing_price_is_unknown_and_a_zero_is_free():
    reading = read(
        {
            "data": [
                model("a/unknown", pricing={"prompt": "0.000001"}),
                model("a/free:free", pricing={"prompt": "0", "completion": "0"}),
                model("a/silent", pricing=None),
            ]
        }
    )
    unknown, free, silent = reading.listings
    assert unknown.quotes[0].prices.output is None
    assert not unknown.priced
    assert (free.quotes[0].prices.input, free.upstream_model) == (0, "a/free:free")
    assert silent.quotes == ()


def test_a_router_whose_price_varies_is_skipped_and_another_negative_price_refused():
    reading = read(
        {
            "data": [
                model("openrouter/auto", pricing={"prompt": "-1", "completion": "-1"}),
                model("a/wrong", pricing={"prompt": "-0.000001", "completion": "0"}),
                model(),
            ]
        }
    )
    assert reading.skipped == (("price varies", 1),)
    assert [(r.entry, r.code, r.pointer) for r in reading.refused] == [
        ("a/wrong", "negative_price", "/data/1/pricing/prompt")
    ]
    assert [one.upstream_model for one in reading.listings] == ["acme/one"]


def test_a_price_per_million_tokens_is_refused_with_the_mistake_named():
    (refused,) = read({"data": [model(pricing={"prompt": "2.5", "completion": "10"})]}).refused
    assert refused.code == "price_unit"
    assert "looks like a price per million tokens; this format wants USD per token" in refused.message


def test_the_dearest_price_taken_is_a_tenth_of_a_cent_per_token():
    dear, beyond = (
        read({"data": [model(pricing={"prompt": price, "completion": "0"})]})
        for price in ("0.001", "0.00100001")
    )
    assert dear.listings[0].quotes[0].prices.input == 1_000_000_000_000
    assert beyond.refused[0].code == "price_unit"


@pytest.mark.parametrize("broken", ["abc", "", "NaN", "Infinity", "1_0", [], {}, True, "1e9999"])
def test_a_price_that_is_no_number_refuses_its_entry_alone(broken):
    reading = read({"data": [model(pricing={"prompt": broken, "completion": "0"}), model("a/other")]})
    assert reading.refused[0].code == "not_a_number"
    assert [one.upstream_model for one in reading.listings] == ["a/other"]


def test_another_currency_is_refused_by_name():
    (refused,) = read(
        {"data": [model(pricing={"prompt": "0", "completion": "0", "currency": "EUR"})]}
    ).refused
    assert (refused.code, "'EUR'" in refused.message) == ("unknown_currency", True)


def test_a_broken_clock_time_or_half_a_window_is_refused():
    for override in (
        {"utc_start": 1660, "utc_end": 0},
        {"utc_start": 2500, "utc_end": 0},
        {"utc_start": 100},
    ):
        assert priced(override).refused[0].pointer.startswith("/data/0/pricing/overrides/0/utc_")


def test_a_price_per_request_that_depends_on_the_length_is_refused():
    assert priced({"min_prompt_tokens": 5, "request": "1"}).refused[0].code == "unsupported_condition"


def test_quotes_end_on_a_models_last_day_and_a_model_past_it_is_skipped():
    reading = read(
        {
            "data": [
                model("a/ending", expiration_date="2026-11-26"),
                model("a/over", expiration_date="2026-11-25"),
            ]
        }
    )
    (listing,) = reading.listings
    assert listing.quotes[-1].valid_until == NOW + 23 * HOUR_US + 30 * MINUTE_US
    assert reading.skipped == (("deprecated", 1),)


def test_what_gives_no_text_is_skipped_and_the_batch_suffix_is_a_lane():
    reading = read(
        {
            "data": [
                model("a/painter", architecture={"output_modalities": ["image"]}),
                model("a/both", architecture={"output_modalities": ["image", "text"]}),
                model("a/one:batch"),
            ]
        }
    )
    assert reading.skipped == (("no text output", 1),)
    assert [(one.model, one.lane) for one in reading.listings] == [("both", "standard"), ("one", "batch")]
    assert read({"data": [model("a/one:batch")]}, lanes=("standard",)).listings == ()


def test_patterns_choose_models_by_the_documents_names():
    document = {"data": [model("a/one"), model("b/two"), model("b/three")]}
    reading = read(document, include=("b/*",), exclude=("*three",))
    assert [one.upstream_model for one in reading.listings] == ["b/two"]
    assert reading.skipped == (("not included", 2),)
    assert reading.entries == 3


def test_the_same_model_twice_counts_once_and_two_that_differ_are_told_apart():
    reading = read({"data": [model(), model(), model(pricing={"prompt": "0.000009", "completion": "0"})]})
    assert len(reading.listings) == 1
    assert reading.skipped == (("listed twice", 1),)
    assert [(r.pointer, r.code) for r in reading.refused] == [("/data/2", "duplicate_entry")]


def test_a_flood_of_overrides_is_refused():
    flood = [{"min_prompt_tokens": n, "prompt": "0.000001"} for n in range(1_000)]
    assert priced(*flood).refused[0].code == "too_many_overrides"


def test_a_snapshot_of_three_hundred_models_has_the_catalogs_own_prices():
    reading = read(openrouter_models(300))
    assert (reading.entries, reading.refused) == (300, ())
    catalog = catalog_listings("openrouter", NOW, NOW + HOUR_US, 0, lanes=("standard", "batch"))
    theirs = {one.key: one for one in catalog}
    usages = (Usage(1_000, 300), Usage(300_000, 5_000, cached=90_000), Usage(40_000, 1, cache_write=7))
    checked = 0
    for listing in reading.listings:
        expected = effective_quote(theirs[listing.key].quotes, NOW).prices
        ours = effective_quote(listing.quotes, NOW).prices
        assert (ours.input, ours.output) == (expected.input, expected.output)
        if expected.known:
            assert [charge(ours, usage) for usage in usages] == [charge(expected, usage) for usage in usages]
            checked += 1
    assert checked > 200
