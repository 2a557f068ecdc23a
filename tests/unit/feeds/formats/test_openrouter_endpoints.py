"""OpenRouter's endpoints of one model: a listing for each, with tiers and measured speed."""

import pytest

from lowtide.market.offer import LatencyClaim
from lowtide.values.errors import BadValue
from tests.unit.feeds.formats.snapshots import read


def endpoint(tag="deepinfra/fp8", **changes):
    return {
        "name": "DeepInfra | acme/one",
        "model_id": "acme/one",
        "provider_name": "DeepInfra",
        "tag": tag,
        "status": 0,
        "quantization": "fp8",
        "context_length": 65_536,
        "max_completion_tokens": 16_384,
        "supported_parameters": ["tools", "stop"],
        "pricing": {"prompt": "0.000001", "completion": "0.000002", "discount": 0},
        **changes,
    }


def document(*endpoints, **model):
    return {"data": {"id": "acme/one", "endpoints": list(endpoints), **model}}


def test_every_endpoint_is_a_listing_of_the_model_told_apart_by_its_tag():
    reading = read(
        document(endpoint(), endpoint("novita"), architecture={"input_modalities": ["text", "file"]})
    )
    assert reading.format == "openrouter_endpoints"
    assert [(one.upstream_model, one.variant) for one in reading.listings] == [
        ("acme/one", "deepinfra/fp8"),
        ("acme/one", "novita"),
    ]
    one = reading.listings[0]
    assert (one.context_window, one.max_output_tokens, one.modalities) == (65_536, 16_384, ("text", "file"))
    assert one.features == ("tools", "stop", "streaming")
    assert one.quotes[0].prices.output == 2_000_000_000


def test_an_endpoint_without_a_tag_is_told_apart_by_its_provider():
    (listing,) = read(document(endpoint(None, provider_name="Amazon Bedrock"))).listings
    assert listing.variant == "amazon-bedrock"


def test_a_tier_in_the_tag_is_a_lane_at_the_price_that_stands_there():
    reading = read(
        document(*(endpoint(tag) for tag in ("openai", "openai/flex", "openai/priority", "x/batch")))
    )
    assert [one.lane for one in reading.listings] == ["standard", "flex", "priority", "batch"]
    assert {one.quotes[0].prices.input for one in reading.listings} == {1_000_000_000}
    assert [one.variant for one in read(document(endpoint("openai/flex")), lanes=("flex",)).listings] == [
        "openai/flex"
    ]


def test_latencies_below_a_hundred_are_seconds_and_others_milliseconds():
    def claim(latency, throughput=None):
        (listing,) = read(
            document(endpoint(latency_last_30m=latency, throughput_last_30m=throughput))
        ).listings
        return listing.latency

    assert claim({"p50": 0.25, "p75": 0.4, "p90": 1.5, "p99": 6}, {"p50": 61.7}) == LatencyClaim(
        250, 1_500, 62
    )
    assert claim({"p50": 250, "p75": 400, "p90": 1_500, "p99": 6_000}) == LatencyClaim(250, 1_500, None)
    # One unit for all of them: a fast median beside a slow tail is not eighty seconds.
    assert claim({"p50": 80, "p90": 250.5}) == LatencyClaim(80, 250, None)
    assert claim(None, None) == LatencyClaim()
    assert claim({"p50": "fast", "p90": -1}, {"p50": 0}) == LatencyClaim()


def test_an_endpoint_that_is_down_is_skipped_and_one_at_status_zero_is_not():
    reading = read(document(endpoint("a", status=0), endpoint("b", status=-2), endpoint("c", status=-10)))
    assert [one.variant for one in reading.listings] == ["a"]
    assert reading.skipped == (("down", 2),)


def test_a_broken_endpoint_is_refused_alone_with_its_place():
    reading = read(document(endpoint("a", pricing={"prompt": "3", "completion": "9"}), endpoint("b"), 7))
    assert [one.variant for one in reading.listings] == ["b"]
    assert [(r.entry, r.pointer, r.code) for r in reading.refused] == [
        ("a", "/data/endpoints/0/pricing/prompt", "price_unit"),
        ("", "/data/endpoints/2", "wrong_type"),
    ]


def test_a_model_that_gives_no_text_or_has_no_endpoints_is_an_empty_feed():
    for broken in (document(endpoint(), architecture={"output_modalities": ["image"]}), document()):
        with pytest.raises(BadValue) as fault:
            read(broken)
        assert fault.value.code == "empty_feed"
