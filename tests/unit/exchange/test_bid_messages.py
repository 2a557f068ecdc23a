"""What bidders are asked, and how their answers are read."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.exchange.bid_messages import BadAnswer, answered, bid_request, invited
from lowtide.market.quote import PriceStep
from lowtide.market.spot import Inputs, clear
from tests.market_builder import KEY, NOW, book, offer, task

MILLI = 1_000_000


def asked(market, wanted=None, rows=None):
    guests = invited(market, list(range(len(market))) if rows is None else rows, NOW)
    spot = clear(wanted or task(), market, Inputs(), NOW, KEY)
    return guests, orjson.loads(bid_request("auc_1", 72, wanted or task(), spot, guests, None))


@given(
    st.integers(1, 9_000).map(lambda n: n * MILLI),
    st.integers(1, 9_000).map(lambda n: n * MILLI),
    st.none() | st.integers(1, 9_000).map(lambda n: n * MILLI),
    st.integers(0, 9_000),
    st.booleans(),
)
@settings(max_examples=60)
def test_standing_prices_sent_back_are_the_standing_prices(given_in, out, cached, request, stepped):
    steps = [PriceStep(1_000, given_in * 2, None)] if stepped else []
    market = book(offer("A", request, input=given_in, output=out, cached=cached, steps=steps))
    guests, message = asked(market)
    (entry,) = message["offers"]
    bids = [{"offer_id": entry["offer_id"], "prices": entry["prices"]}]
    (bid,), _ = answered(orjson.dumps({"bids": bids}), guests, NOW)
    assert bid.prices == market.rows[0].quotes[0].prices


def test_what_a_bid_leaves_out_stays_as_quoted():
    market = book(
        offer("A", 5, input=9 * MILLI, output=8 * MILLI, cached=MILLI, steps=[PriceStep(10, 10 * MILLI)])
    )
    guests, _ = asked(market)
    answer = {"bids": [{"offer_id": "A", "prices": {"output_per_mtok": "0.002"}}], "took_ms": 12}
    (bid,), took_ms = answered(orjson.dumps(answer), guests, NOW)
    standing = market.rows[0].quotes[0].prices
    assert (bid.prices.input, bid.prices.cached_input, bid.prices.per_request) == (9 * MILLI, MILLI, 5)
    assert (bid.prices.output, bid.prices.steps, took_ms) == (2 * MILLI, standing.steps, 12)


def test_offers_without_a_price_are_not_asked_for():
    assert [
        guest.offer_id
        for guest in asked(book(offer("A", quotes=()), offer("B", input=None), offer("C", 5)))[0]
    ] == ["C"]


def test_a_request_tells_needs_and_neither_budget_nor_value():
    wanted = task(
        max_cost=123_456, value=234_567, per_second=345, min_quality=0.8, features=("tools",), domain="legal"
    )
    _, message = asked(book(offer("A", 5, features=("tools",))), wanted)
    assert message["task"]["min_quality"] == 0.8
    assert (message["task"]["features"], message["task"]["domain"]) == (["tools"], "legal")
    assert not {"max_cost", "max_cost_usd", "value", "value_usd", "per_second", "input"} & (
        message.keys() | message["task"].keys()
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b"[" * 50_000, "not_json"),
        (b'{"bids": NaN}', "not_json"),
        (b"3", "wrong_type"),
        (b"{}", "no_bids"),
        (b'{"bids": {}}', "no_bids"),
        (b'{"bids": [3]}', "wrong_type"),
        (b'{"bids": [{}]}', "unknown_offer"),
        (b'{"bids": [{"offer_id": ["A"]}]}', "unknown_offer"),
        (b'{"no_bid": "X y"}', "bad_no_bid"),
        (b'{"no_bid": 7}', "bad_no_bid"),
        (b'{"took_ms": -1, "bids": []}', "not_a_number"),
    ],
)
def test_an_answer_of_which_nothing_can_be_taken_says_why(body, code):
    guests, _ = asked(book(offer("A", 5)))
    with pytest.raises(BadAnswer) as caught:
        answered(body, guests, NOW)
    assert caught.value.code == code


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "bids",
                        "offer_id",
                        "prices",
                        "input_per_mtok",
                        "quality",
                        "latency_ms",
                        "p50",
                        "no_bid",
                        "steps",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=200)
def test_no_answer_whatever_raises_anything_else(value):
    guests, _ = asked(book(offer("A", 5)))
    entries = [{"offer_id": "A", "prices": value}, {"offer_id": "A", "quality": value, "valid_until": value}]
    for body in (value, {"bids": value}, *({"bids": [entry]} for entry in entries)):
        try:
            bids, _ = answered(orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), guests, NOW)
        except (BadAnswer, orjson.JSONEncodeError):
            continue
        assert [bid.row for bid in bids] == [0]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"valid_until": "9999-01-01T00:00:00Z"}, "bad_time"),
        ({"valid_until": "1960-01-01T00:00:00Z"}, "bad_time"),
        ({"prices": {"steps": [{"above_tokens": n} for n in range(1, 18)]}}, "too_many_steps"),
        ({"latency_ms": {"p95": 3_600_001}}, "out_of_range"),
        ({"prices": {"input_per_mtok": "1e400"}}, "not_a_number"),
    ],
)
def test_a_bid_that_no_record_could_hold_is_invalid(entry, said):
    guests, _ = asked(book(offer("A", 5)))
    (bid,), _ = answered(orjson.dumps({"bids": [{"offer_id": "A", **entry}]}), guests, NOW)
    assert (bid.code, bid.said) == (31, said)


@pytest.mark.parametrize(
    "quality", [b"1e9999999999999999999", b"-1e400", b"9" * 5_000, b"1e-9999999999999999999"]
)
def test_a_number_beyond_all_bounds_is_no_number(quality):
    guests, _ = asked(book(offer("A", 5)))
    body = b'{"bids": [{"offer_id": "A", "quality": ' + quality + b"}]}"
    assert refused(body, guests)


def refused(body, guests):
    """Whether the bid or the whole answer is invalid."""
    try:
        (bid,), _ = answered(body, guests, NOW)
    except BadAnswer:
        return True
    return bid.code == 31


def test_two_bids_for_one_offer_are_none():
    guests, _ = asked(book(offer("A", 5)))
    (bid,), _ = answered(orjson.dumps({"bids": [{"offer_id": "A"}] * 2}), guests, NOW)
    assert (bid.code, bid.said) == (31, "duplicate_entry")
