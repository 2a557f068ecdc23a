"""LiteLLM's cost map: lanes by suffix, steps, tiers, off-peak hours on a zone's calendar."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowtide.market.quote import PriceStep
from lowtide.values.errors import BadValue
from lowtide.values.instants import DAY_US, HOUR_US, MINUTE_US, micros
from tests.unit.feeds.formats.snapshots import NOW, hours, read

OFF_PEAK = {
    "input_cost_per_token": 1.5e-07,
    "output_cost_per_token": 6e-07,
    "cache_read_input_token_cost": 3e-09,
    "windows": [
        {"hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
        {"hours_utc": "00:00-00:00", "weekdays": ["sat", "Sunday"]},
    ],
}


def entry(**changes):
    return {
        "litellm_provider": "acme",
        "mode": "chat",
        "max_input_tokens": 200_000,
        "max_output_tokens": 16_384,
        "input_cost_per_token": 2.5e-07,
        "output_cost_per_token": 1.25e-06,
        **changes,
    }


def lanes(**changes):
    reading = read({"acme/one": entry(**changes)})
    assert reading.refused == ()
    return {listing.lane: listing for listing in reading.listings}


def prices(lane="standard", **changes):
    return lanes(**changes)[lane].quotes[0].prices


def test_floats_per_token_are_read_by_their_digits_and_not_by_their_bits():
    found = prices(
        cache_read_input_token_cost=2.5e-08,
        cache_creation_input_token_cost=3.125e-07,
        input_cost_per_request=0.005,
    )
    assert (found.input, found.output) == (250_000_000, 1_250_000_000)
    assert (found.cached_input, found.cache_write, found.per_request) == (25_000_000, 312_500_000, 5_000_000)


def test_the_providers_prefix_is_taken_off_and_the_specimen_left_out():
    document = {
        "sample_spec": {"litellm_provider": "one of many", "input_cost_per_token": "0.0"},
        "acme/one": entry(),
        "two": entry(),
        "vertex_ai/three": entry(litellm_provider="vertex_ai-llama_models"),
    }
    reading = read(document)
    assert reading.format == "litellm"
    assert [one.upstream_model for one in reading.listings] == ["one", "two"]
    assert (reading.entries, reading.skipped) == (3, (("other provider", 1),))
    vertex = read(document, select="vertex_ai*")
    assert [one.upstream_model for one in vertex.listings] == ["three"]
    everything = read(document, select="*")
    assert [one.upstream_model for one in everything.listings] == ["acme/one", "two", "vertex_ai/three"]


def test_a_provider_that_the_map_does_not_have_is_named_with_those_that_it_has():
    with pytest.raises(BadValue, match="'acme'") as fault:
        read({"acme/one": entry()}, select="acne")
    assert fault.value.code == "empty_feed"
    assert "`select`" in fault.value.detail
    assert "'*' takes all" in fault.value.detail


def test_only_what_gives_text_is_read_and_the_rest_counted_by_its_mode():
    reading = read(
        {
            "a": entry(mode="embedding"),
            "b": entry(mode="image_generation"),
            "c": entry(mode="responses"),
            "d": entry(mode="completion"),
            "e": entry(mode=None),
        }
    )
    assert [one.upstream_model for one in reading.listings] == ["c", "d"]
    assert dict(reading.skipped) == {"mode embedding": 1, "mode image_generation": 1, "no mode": 1}


def test_a_lane_exists_where_a_suffix_prices_it_and_inherits_what_it_lacks():
    found = lanes(
        cache_read_input_token_cost=5e-08,
        input_cost_per_token_batches=1.25e-07,
        output_cost_per_token_batches=6.25e-07,
        input_cost_per_token_flex=1e-07,
        cache_read_input_token_cost_priority=9e-08,
    )
    assert list(found) == ["standard", "batch", "flex"]
    batch, flex = (found[lane].quotes[0].prices for lane in ("batch", "flex"))
    assert (batch.input, batch.output, batch.cached_input) == (125_000_000, 625_000_000, 50_000_000)
    assert (flex.input, flex.output) == (100_000_000, 1_250_000_000)
    assert [
        one.lane
        for one in read({"acme/one": entry(input_cost_per_token_flex=1e-07)}, lanes=("flex",)).listings
    ] == ["flex"]


def test_long_context_prices_are_steps_with_those_of_a_lane_before_the_standard_ones():
    costs = {
        "input_cost_per_token_flex": 1e-07,
        "output_cost_per_token_flex": 5e-07,
        "input_cost_per_token_above_272k_tokens": 5e-07,
        "output_cost_per_token_above_272k_tokens": 2e-06,
        "input_cost_per_token_above_272k_tokens_flex": 2e-07,
        "cache_read_input_token_cost_above_128k_tokens": 1e-08,
    }
    assert prices(**costs).steps == (
        PriceStep(128_000, cached_input=10_000_000),
        PriceStep(272_000, input=500_000_000, output=2_000_000_000),
    )
    assert prices("flex", **costs).steps == (
        PriceStep(128_000, cached_input=10_000_000),
        PriceStep(272_000, input=200_000_000, output=2_000_000_000),
    )


def test_thresholds_are_exceeded_strictly_but_reached_at_xai():
    costs = {"input_cost_per_token_above_200k_tokens": 5e-07}
    assert prices(**costs).steps[0].above_tokens == 200_000
    reading = read({"xai/grok": entry(litellm_provider="xai", **costs)}, select="xai")
    assert reading.listings[0].quotes[0].prices.steps[0].above_tokens == 199_999


def test_tiered_prices_are_steps_and_a_tier_without_a_cache_price_takes_its_input_price():
    found = prices(
        input_cost_per_token=None,
        output_cost_per_token=None,
        tiered_pricing=[
            {"input_cost_per_token": 8e-07, "output_cost_per_token": 4e-06, "range": [32000.0, 128000.0]},
            {
                "input_cost_per_token": 3e-07,
                "output_cost_per_token": 1.5e-06,
                "cache_read_input_token_cost": 8e-08,
                "range": [0, 32000.0],
            },
        ],
    )
    assert (found.input, found.output, found.cached_input) == (300_000_000, 1_500_000_000, 80_000_000)
    assert found.steps == (
        PriceStep(32_000, input=800_000_000, output=4_000_000_000, cached_input=800_000_000),
    )


def test_off_peak_hours_are_forward_quotes_start_inclusive_and_end_exclusive():
    reading = read({"acme/one": entry(off_peak_pricing=OFF_PEAK)})
    low, high = 600_000_000, 1_250_000_000
    assert hours(reading) == [
        ("25 00:30", low),
        ("25 01:00", high),
        ("25 04:00", low),
        ("25 06:00", high),
        ("25 10:00", low),
        ("26 01:00", high),
        ("26 04:00", low),
        ("26 06:00", high),
        ("26 10:00", low),
    ]
    assert reading.listings[0].quotes[0].prices.cached_input == 3_000_000


def test_a_window_whose_start_is_its_end_is_the_whole_day():
    friday = micros(datetime(2026, 11, 27, 12, tzinfo=UTC))
    reading = read(
        {"acme/one": entry(off_peak_pricing=OFF_PEAK)}, now_us=friday, valid_until_us=friday + 3 * DAY_US
    )
    # Off-peak from Friday 10:00 through the whole weekend, to Monday 01:00.
    assert hours(reading) == [
        ("27 12:00", 600_000_000),
        ("30 01:00", 1_250_000_000),
        ("30 04:00", 600_000_000),
        ("30 06:00", 1_250_000_000),
        ("30 10:00", 600_000_000),
    ]


def test_weekdays_are_read_off_the_zones_clock_at_the_instant_itself():
    def begins(zone):
        thursday = micros(datetime(2026, 11, 26, 12, tzinfo=UTC))
        block = {
            "output_cost_per_token": 6e-07,
            "weekday_timezone": zone,
            "windows": [{"hours_utc": "14:00-20:00", "weekdays": ["sat"]}],
        }
        reading = read(
            {"acme/one": entry(off_peak_pricing=block)},
            now_us=thursday,
            valid_until_us=thursday + 3 * DAY_US,
        )
        return hours(reading)

    # Saturday begins in Shanghai on Friday at 16:00 UTC, within the window, and ends on Saturday at 16:00 UTC.
    assert begins("Asia/Shanghai")[1:] == [
        ("27 16:00", 600_000_000),
        ("27 20:00", 1_250_000_000),
        ("28 14:00", 600_000_000),
        ("28 16:00", 1_250_000_000),
    ]
    assert begins("")[1:] == [("28 14:00", 600_000_000), ("28 20:00", 1_250_000_000)]


def test_off_peak_prices_hold_at_every_length_and_only_on_the_standard_lane():
    found = lanes(
        off_peak_pricing={**OFF_PEAK, "hours_utc": "00:00-00:00"},
        input_cost_per_token_above_200k_tokens=9e-07,
        input_cost_per_token_batches=1.25e-07,
    )
    (low,) = found["standard"].quotes
    assert (low.prices.input, low.prices.steps) == (150_000_000, ())
    assert found["batch"].quotes[0].prices.input == 125_000_000


@pytest.mark.parametrize(
    "block",
    [
        {"hours_utc": "25:00-26:00"},
        {"hours_utc": ["1-2"]},
        {"hours_utc": 5},
        {"windows": [{"hours_utc": "00:00-01:00", "weekdays": [8]}]},
        {"windows": [{"hours_utc": "00:00-01:00", "weekdays": ["noday"]}]},
        {"hours_utc": "00:00-01:00", "weekday_timezone": "Mars/Olympus"},
        {},
    ],
)
def test_a_window_that_cannot_be_read_refuses_its_entry_alone(block):
    reading = read({"acme/one": entry(off_peak_pricing=block), "acme/two": entry()})
    assert [one.upstream_model for one in reading.listings] == ["two"]
    assert reading.refused[0].code in ("bad_window", "wrong_type")
    assert reading.refused[0].pointer.startswith("/acme~1one/off_peak_pricing")


def test_what_a_model_can_do_and_take_is_what_the_map_supports():
    (listing,) = lanes(
        supports_vision=True,
        supports_pdf_input=True,
        supports_audio_input=False,
        supports_function_calling=True,
        supports_response_schema=True,
        max_tokens=4,
    ).values()
    assert listing.modalities == ("text", "image", "file")
    assert listing.features == ("tools", "json_schema")
    assert (listing.context_window, listing.max_output_tokens) == (200_000, 16_384)


def test_a_model_past_its_date_is_skipped_and_one_before_it_is_quoted_until_then():
    reading = read({"a": entry(deprecation_date="2026-11-24"), "b": entry(deprecation_date="2026-11-26")})
    assert reading.skipped == (("deprecated", 1),)
    assert reading.listings[0].quotes[-1].valid_until == NOW + 23 * HOUR_US + 30 * MINUTE_US


def test_wrong_units_negative_prices_and_other_currencies_are_refused_by_entry():
    reading = read(
        {
            "a": entry(input_cost_per_token=2.5),
            "b": entry(output_cost_per_token=-1e-06),
            "c": entry(currency="CNY"),
            "d": entry(input_cost_per_token="cheap"),
            "e": entry(input_cost_per_token=None),
            "f": entry(input_cost_per_token=0.0, output_cost_per_token=0),
            "g h": entry(),
            "i": 5,
        }
    )
    assert [(r.pointer, r.code) for r in reading.refused] == [
        ("/a/input_cost_per_token", "price_unit"),
        ("/b/output_cost_per_token", "negative_price"),
        ("/c/currency", "unknown_currency"),
        ("/d/input_cost_per_token", "not_a_number"),
        ("/g h/model", "bad_name"),
        ("/i", "wrong_type"),
    ]
    unpriced, free = reading.listings
    assert (unpriced.priced, free.priced) == (False, True)


def cost_map():
    path = os.environ.get("LITELLM_COST_MAP")
    if not path:
        pytest.skip(
            "set LITELLM_COST_MAP to the path of LiteLLM's model_prices_and_context_window.json to read the real map"
        )
    return Path(path).read_bytes()


def test_the_real_map_is_understood_within_a_second_of_work():
    data = cost_map()
    begin = time.process_time()
    reading = read(data, select="*")
    assert time.process_time() - begin < 1
    assert reading.entries == len(json.loads(data)) - 1
    assert len(reading.listings) > 2_000
    assert len(reading.refused) < reading.entries / 100
