"""Prices in a table."""

import pytest

from lowtide.market.offer import Capacity
from lowtide.values.errors import BadValue
from tests.unit.feeds.formats.snapshots import hours, read

PLAIN = "model,input_per_mtok,output_per_mtok\nllama,0.25,1.25\n"


def test_a_plain_table_is_priced_per_million_tokens():
    reading = read(PLAIN)
    (listing,) = reading.listings
    assert (reading.format, reading.entries) == ("csv", 1)
    assert (listing.model, listing.upstream_model, listing.lane) == ("llama", "llama", "standard")
    assert (listing.quotes[0].prices.input, listing.quotes[0].prices.output) == (250_000_000, 1_250_000_000)
    assert len(listing.raw) == 64


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "\n\n" + PLAIN.replace("llama", '"llama"') + "\n,,\n",
        "Model , input_per_mtok,OUTPUT_PER_MTOK\n llama , 0.25 , 1.25",
    ],
)
def test_byte_order_marks_line_ends_separators_and_quotes_do_not_matter(text):
    (listing,) = read(text).listings
    assert (listing.model, listing.quotes[0].prices.output) == ("llama", 1_250_000_000)


def test_every_column_of_our_json_has_its_place():
    reading = read(
        "model,upstream_model,lane,variant,input_per_mtok,output_per_mtok,cached_input_per_mtok,cache_write_per_mtok,"
        "per_request,currency,context_window,max_output_tokens,concurrency,requests_per_minute,tokens_per_minute,regions\n"
        'llama,acme/llama,flex,fp8,1,2,0.1,1.25,0.001,USD,8192,1024,4,60,100000,"EU us"\n'
    )
    (listing,) = reading.listings
    prices = listing.quotes[0].prices
    assert listing.key == ("acme/llama", "flex", "fp8")
    assert (prices.cached_input, prices.cache_write, prices.per_request) == (
        100_000_000,
        1_250_000_000,
        1_000_000,
    )
    assert (listing.context_window, listing.max_output_tokens) == (8_192, 1_024)
    assert (listing.capacity, listing.regions) == (Capacity(4, 60, 100_000), ("eu", "us"))


def test_rows_of_one_offer_are_one_listing_with_a_quote_for_each_interval():
    reading = read(
        "model,input_per_mtok,output_per_mtok,valid_from,valid_until\n"
        "llama,0.10,0.50,2026-11-25T22:00:00Z,2026-11-26T06:00:00Z\n"
        "llama,0.25,1.25,,2026-11-25T22:00:00Z\n"
        "qwen,1,2,,\n"
    )
    assert [one.model for one in reading.listings] == ["llama", "qwen"]
    assert hours(reading) == [("25 00:30", 1_250_000_000), ("25 22:00", 500_000_000)]
    assert reading.entries == 3


def test_rows_that_overlap_are_refused_and_other_models_stay():
    reading = read(PLAIN + "llama,1,2\nqwen,1,2\n")
    assert [one.model for one in reading.listings] == ["qwen"]
    assert [(r.entry, r.pointer, r.code) for r in reading.refused] == [
        ("llama", "/row/2", "overlapping_quotes")
    ]


@pytest.mark.parametrize(
    ("row", "code", "pointer"),
    [
        ("bad,0.0000025,1", "price_unit", "/row/3/input_per_mtok"),
        ("bad,5000,1", "price_unit", "/row/3/input_per_mtok"),
        ("bad,-1,1", "negative_price", "/row/3/input_per_mtok"),
        ("bad,x,1", "not_a_number", "/row/3/input_per_mtok"),
        (",1,1", "missing_field", "/row/3/model"),
        ("bad,1,1,1", "too_many_cells", "/row/3"),
    ],
)
def test_a_broken_row_is_refused_alone_with_its_place(row, code, pointer):
    reading = read(PLAIN + row + "\n")
    assert [one.model for one in reading.listings] == ["llama"]
    assert [(r.code, r.pointer) for r in reading.refused] == [(code, pointer)]


def test_another_currency_is_refused_and_an_empty_price_unknown():
    reading = read("model,input_per_mtok,output_per_mtok,currency\na,1,2,EUR\nb,1,,usd\n")
    assert [(r.code, r.pointer) for r in reading.refused] == [("unknown_currency", "/row/2/currency")]
    assert reading.listings[0].quotes[0].prices.output is None


def test_a_table_without_the_needed_columns_is_refused_by_their_names():
    with pytest.raises(BadValue, match=r"lacks input_per_mtok and output_per_mtok.*per_token") as fault:
        read("model,input_per_token\nllama,0.25\n")
    assert fault.value.code == "not_this_format"
    with pytest.raises(BadValue) as fault:
        read("model,input_per_mtok,output_per_mtok\n")
    assert fault.value.code == "empty_feed"


def test_columns_that_nobody_reads_are_named():
    reading = read("model,input_per_mtok,output_per_mtok,quality,latency_ms,quality\na,1,2,.9,5,.8\n")
    assert reading.ignored == ("quality", "latency_ms")
    assert len(reading.listings) == 1


def test_patterns_match_the_market_s_name_of_a_row():
    table = "model,upstream_model,input_per_mtok,output_per_mtok\nacme/Night,n1,1,2\nday,,1,2\n"
    assert [one.model for one in read(table, include=("night",)).listings] == ["night"]
