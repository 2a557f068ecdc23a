"""Our own price feed in JSON."""

import pytest

from lowtide.market.offer import Capacity, Claim, LatencyClaim
from lowtide.market.quote import PriceStep
from lowtide.values.canonical import canonical, sha256
from lowtide.values.errors import BadValue
from lowtide.values.instants import HOUR_US
from tests.unit.feeds.formats.snapshots import NOW, hours, read

PRICES = {"input_per_mtok": "0.25", "output_per_mtok": "1.25"}
NIGHT = {"input_per_mtok": "0.10", "output_per_mtok": "0.50"}


def document(*models, **changes):
    return {"format": "lowtide/1", "currency": "USD", "models": list(models), **changes}


def model(**changes):
    return {"model": "llama-3.3-70b", "prices": PRICES, **changes}


def one(**changes):
    reading = read(document(model(**changes)))
    assert reading.refused == ()
    return reading.listings[0]


def refused(**changes):
    reading = read(document(model(**changes), {"model": "sound", "prices": PRICES}))
    assert [listing.model for listing in reading.listings] == ["sound"]
    return reading.refused[0]


def test_a_listing_has_everything_that_the_entry_says():
    entry = model(
        upstream_model="acme/llama-70b",
        lane="flex",
        variant="fp8",
        context_window=131_072,
        max_output_tokens=8_192,
        modalities=["image", "text"],
        features=["streaming", "tools"],
        regions=["EU"],
        zero_retention=True,
        capacity={"concurrency": 8, "requests_per_minute": 600},
        latency={"p50_ms": 400, "p95_ms": 1_500, "tokens_per_second": 60},
        quality_claims=[{"domain": "code", "quality": "0.82", "sample_size": 200}],
        note="unknown fields are ignored",
    )
    reading = read(document(entry))
    (listing,) = reading.listings
    assert reading.format == "lowtide"
    assert (listing.provider, listing.model) == ("acme", "llama-3.3-70b")
    assert listing.key == ("acme/llama-70b", "flex", "fp8")
    assert (listing.context_window, listing.max_output_tokens) == (131_072, 8_192)
    assert (listing.modalities, listing.features) == (("text", "image"), ("tools", "streaming"))
    assert (listing.regions, listing.zero_retention) == (("eu",), True)
    assert (listing.capacity, listing.latency) == (Capacity(8, 600), LatencyClaim(400, 1_500, 60))
    assert listing.claims == (Claim("code", 820_000, 200),)
    assert listing.raw == sha256(canonical(entry)).hex()
    (quote,) = listing.quotes
    assert (quote.valid_from, quote.valid_until) == (NOW, NOW + 48 * HOUR_US)


def test_what_an_entry_leaves_out_is_taken_from_the_feeds_settings():
    (listing,) = read(document(model()), max_output_tokens=1_000, features=("seed",)).listings
    assert (listing.context_window, listing.max_output_tokens) == (128_000, 1_000)
    assert (listing.features, listing.upstream_model) == (("seed",), "llama-3.3-70b")


def test_prices_are_exact_and_steps_rise_by_threshold():
    prices = {
        **PRICES,
        "cached_input_per_mtok": "0.0250000001",
        "cache_write_per_mtok": "3.1e-1",
        "per_request": "0.001",
        "steps": [
            {"above_tokens": 200_000, "input_per_mtok": "0.50"},
            {"above_tokens": 32_000, "output_per_mtok": "2"},
        ],
    }
    found = one(prices=prices).quotes[0].prices
    assert (found.cached_input, found.cache_write, found.per_request) == (25_000_001, 310_000_000, 1_000_000)
    assert found.steps == (PriceStep(32_000, output=2_000_000_000), PriceStep(200_000, input=500_000_000))


def test_a_curve_is_forward_prices_with_what_is_sold_at_each():
    (listing,) = read(
        document(
            {
                "model": "a",
                "curve": [
                    {
                        "prices": NIGHT,
                        "valid_from": "2026-11-25T22:00:00Z",
                        "valid_until": "2026-11-26T06:00:00Z",
                        "capacity": {"concurrency": 2},
                    },
                    {"prices": PRICES, "valid_until": "2026-11-25T22:00:00Z"},
                    {"prices": PRICES, "valid_from": "2026-11-30T00:00:00Z"},
                ],
            }
        )
    ).listings
    assert [(q.prices.output, q.valid_from - NOW, q.capacity) for q in listing.quotes] == [
        (1_250_000_000, 0, None),
        (500_000_000, 21 * HOUR_US + HOUR_US // 2, Capacity(2)),
    ]


def test_slots_that_overlap_are_refused():
    fault = refused(
        prices=None, curve=[{"prices": PRICES}, {"prices": NIGHT, "valid_from": "2026-11-25T22:00:00Z"}]
    )
    assert (fault.code, fault.pointer) == ("overlapping_quotes", "/models/0/curve")


def test_a_tariff_is_expanded_over_the_time_of_the_reading():
    tariff = {"zone": "Europe/Berlin", "windows": [{"start": "22:00", "end": "06:00", "multiplier": "0.4"}]}
    reading = read(document(model(tariff=tariff)))
    assert hours(reading) == [
        ("25 00:30", 500_000_000),
        ("25 05:00", 1_250_000_000),
        ("25 21:00", 500_000_000),
        ("26 05:00", 1_250_000_000),
        ("26 21:00", 500_000_000),
    ]
    assert refused(tariff={"zone": "Nowhere", "windows": []}).code == "bad_tariff"
    assert (
        refused(tariff={**tariff, "effective_from": "0001-01-01", "zone": "Asia/Tokyo"}).code == "bad_tariff"
    )


def test_an_interval_that_is_over_leaves_the_model_without_a_price():
    assert one(valid_from="2026-11-20T00:00:00Z", valid_until="2026-11-21T00:00:00Z").quotes == ()
    assert refused(valid_until="2026-11-21T00:00:00Z").code == "ends_before_it_begins"
    assert refused(valid_from="tomorrow").code == "bad_time"
    assert refused(valid_from="2026-11-21T00:00:00").code == "naive_time"


def test_a_missing_price_is_unknown():
    assert one(prices={"input_per_mtok": "0.25"}).quotes[0].prices.output is None
    assert one(prices=None).quotes == ()


@pytest.mark.parametrize(
    ("prices", "code", "field"),
    [
        ({"input_per_mtok": 0.25, "output_per_mtok": "1"}, "not_a_decimal_string", "input_per_mtok"),
        ({"input_per_mtok": "cheap", "output_per_mtok": "1"}, "not_a_number", "input_per_mtok"),
        ({"input_per_mtok": "-1", "output_per_mtok": "1"}, "negative_price", "input_per_mtok"),
        ({"input_per_mtok": "0.0000025", "output_per_mtok": "1"}, "price_unit", "input_per_mtok"),
        ({"input_per_mtok": "1000.01", "output_per_mtok": "1"}, "price_unit", "input_per_mtok"),
        ({"input_per_token": "0.0000025"}, "price_unit", "input_per_token"),
        ({**PRICES, "per_request": "1001"}, "price_unit", "per_request"),
        ({**PRICES, "currency": "EUR"}, "unknown_currency", "currency"),
        ({**PRICES, "steps": [{"input_per_mtok": "1"}]}, "missing_field", "steps/0/above_tokens"),
        ({**PRICES, "steps": [{"above_tokens": 5}, {"above_tokens": 5}]}, "duplicate_entry", "steps"),
    ],
)
def test_a_wrong_price_is_refused_with_its_place(prices, code, field):
    fault = refused(prices=prices)
    assert (fault.code, fault.pointer) == (code, f"/models/0/prices/{field}")
    assert fault.message.endswith(".")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lane": "express"}, "unknown_value"),
        ({"features": ["magic"]}, "unknown_value"),
        ({"modalities": "text"}, "wrong_type"),
        ({"context_window": -5}, "not_a_number"),
        ({"variant": "v" * 65}, "bad_name"),
        ({"model": "two words"}, "bad_name"),
        ({"model": None}, "missing_field"),
        ({"quality_claims": [{"domain": "code", "quality": 82}]}, "out_of_range"),
        ({"curve": [{"prices": PRICES}]}, "conflicting_fields"),
        ({"prices": None, "curve": [{}]}, "missing_field"),
        ({"prices": []}, "wrong_type"),
    ],
)
def test_a_broken_entry_is_refused_alone(changes, code):
    assert refused(**changes).code == code


def test_a_document_in_another_currency_or_version_is_refused_whole():
    for changes, code in (
        ({"currency": "EUR"}, "unknown_currency"),
        ({"format": "lowtide/9"}, "not_this_format"),
        ({"models": {}}, "not_this_format"),
    ):
        with pytest.raises(BadValue) as fault:
            read(document(model(), **changes))
        assert fault.value.code == code


def test_fields_that_nobody_reads_are_named_once_wherever_they_stand():
    entry = model(
        quality="0.9",
        prices={**PRICES, "inptu_per_mtok": "1"},
        latency={"p50_ms": 4, "p99_ms": 9},
        tariff=None,
    )
    curve = {"model": "other", "curve": [{"prices": PRICES, "valid_form": "2026-11-25T01:00:00Z"}]}
    reading = read(document(entry, {**entry, "variant": "b"}, curve, made_by="acme"))
    assert reading.ignored == (
        "prices.inptu_per_mtok",
        "quality",
        "latency.p99_ms",
        "curve.valid_form",
        "made_by",
    )
    assert len(reading.listings) == 3


def test_of_many_fields_that_nobody_reads_the_first_twenty_are_named_short():
    reading = read(document(model(**{f"{number}{'x' * 200}\n": 1 for number in range(50)})))
    assert [name[:2] for name in reading.ignored[:2]] == ["0x", "1x"]
    assert len(reading.ignored) == 20
    assert max(map(len, reading.ignored)) == 64


def test_a_document_without_unknown_fields_names_none():
    assert read(document(model(), model(variant="b", curve=[], prices=None))).ignored == ()


def test_patterns_match_the_market_s_name_too():
    sold = document(model(model="acme/Night-5p3", upstream_model="x1"), model(model="day"))
    assert [one.model for one in read(sold, include=("night-5.3",)).listings] == ["night-5.3"]
    assert [one.model for one in read(sold, exclude=("night-*",)).listings] == ["day"]
    assert [one.model for one in read(sold, include=("x1",)).listings] == ["night-5.3"]
