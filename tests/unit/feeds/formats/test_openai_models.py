"""Model lists of OpenAI-compatible servers, with and without prices."""

from lowtide.market.quote import Prices
from lowtide.values.instants import HOUR_US, MINUTE_US
from tests.unit.feeds.formats.snapshots import NOW, read


def test_a_plain_list_names_models_without_prices():
    reading = read(
        {"object": "list", "data": [{"id": "qwen3-8b", "object": "model", "max_model_len": 32_768}]}
    )
    (listing,) = reading.listings
    assert reading.format == "openai_models"
    assert (listing.upstream_model, listing.quotes, listing.context_window) == ("qwen3-8b", (), 32_768)


def test_models_without_prices_take_those_that_the_feed_is_told():
    (listing,) = read({"data": [{"id": "a"}]}, prices=Prices(1, 2), features=("streaming", "tools")).listings
    assert (listing.quotes[0].prices, listing.quotes[0].valid_from) == (Prices(1, 2), NOW)
    assert listing.features == ("tools", "streaming")


def test_togethers_bare_list_is_priced_per_million_tokens_by_numbers():
    reading = read(
        [
            {
                "id": "a/chat",
                "type": "chat",
                "context_length": 8_192,
                "pricing": {"input": 0.88, "output": 1},
            },
            {"id": "a/paint", "type": "image", "pricing": {"input": 0, "output": 0}},
            {"id": "a/tiny", "type": "chat", "pricing": {"input": 8.8e-07, "output": 1}},
        ]
    )
    (listing,) = reading.listings
    assert (listing.quotes[0].prices.input, listing.quotes[0].prices.output) == (880_000_000, 1_000_000_000)
    assert reading.skipped == (("no text output", 1),)
    assert (reading.refused[0].code, reading.refused[0].pointer) == ("price_unit", "/2/pricing/input")
    assert "looks like a price per token" in reading.refused[0].message


def test_prices_in_openrouters_manner_are_per_token():
    reading = read(
        {"data": [{"id": "a", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}, {"id": None}, 3]},
        prices=Prices(7, 7),
    )
    assert reading.listings[0].quotes[0].prices == Prices(1_000_000_000, 2_000_000_000)
    assert [(r.pointer, r.code) for r in reading.refused] == [
        ("/data/1/id", "missing_field"),
        ("/data/2", "wrong_type"),
    ]


def test_a_model_past_its_last_day_is_passed_over_and_its_prices_end_on_it():
    priced = {"prompt": "0.000001", "completion": "0.000002"}
    models = [
        {"id": "a/gone", "pricing": priced, "deprecation_date": "2026-11-01"},
        {"id": "a/going", "pricing": priced, "deprecation_date": "2026-11-26"},
        {"id": "a/told", "deprecation_date": "2026-11-26"},
    ]
    reading = read({"data": models}, prices=Prices(1, 2))
    assert reading.skipped == (("deprecated", 1),)
    assert [one.model for one in reading.listings] == ["going", "told"]
    last = NOW + 23 * HOUR_US + 30 * MINUTE_US
    assert [one.quotes[-1].valid_until for one in reading.listings] == [last, last]


def test_patterns_match_the_market_s_name():
    (listing,) = read({"data": [{"id": "acme/night"}, {"id": "day"}]}, include=("night",)).listings
    assert (listing.model, listing.upstream_model) == ("night", "acme/night")
