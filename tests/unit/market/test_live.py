"""Live bids in the core: what counts, what does not and why, and that a record of them decides again (MARKET.md 11)."""

from dataclasses import replace

import orjson
import pytest

from lowtide.market.live import LiveBid, above
from lowtide.market.offer import Capacity
from lowtide.market.quote import PriceStep
from lowtide.market.replay import replay
from lowtide.market.spot import Inputs
from tests.market_builder import NOW, book, decide, offer, prices, quote, task
from tests.unit.market.test_known_deferral import DEADLINE, stepping
from tests.unit.market.test_replay import SEED, recorded

CLOSES = NOW - 1_000


def bid(row, price=0, *, at=CLOSES, code=0, quality=None, **fields):
    said = None if code else prices(price)
    claimed = None if quality is None else round(quality * 1_000_000)
    return LiveBid(row, code, at, fields.pop("prices", said), claimed, **fields)


def asked(market, *bids, wanted=None, **given):
    return decide(wanted or task(), market, live=bids, closes_at=CLOSES, **given)


def test_a_bid_under_the_standing_quote_wins_at_the_price_bid():
    result = asked(book(offer("A", 60), offer("B", 50)), bid(0, 40))
    assert (result.winner, result.price) == ("A", 40)
    assert [view.prices.per_request for view in result.views()] == [40, 50]


def test_a_bid_above_the_standing_quote_does_not_count_and_the_quote_does_not_stand_in():
    result = asked(book(offer("A", 60), offer("B", 70)), bid(0, 61))
    assert (result.winner, result.loss_reason("A")) == ("B", "bid_above_quote")


def test_a_bid_at_the_standing_quote_counts():
    assert asked(book(offer("A", 60), offer("B", 70)), bid(0, 60)).winner == "A"


def test_an_answer_after_the_close_counts_as_none():
    result = asked(book(offer("A", 60), offer("B", 70)), bid(0, 10, at=CLOSES + 1))
    assert (result.winner, result.loss_reason("A")) == ("B", "bid_timeout")


@pytest.mark.parametrize(
    ("code", "name"), [(30, "bid_timeout"), (31, "bid_invalid"), (33, "no_bid"), (34, "not_asked")]
)
def test_whoever_gave_no_bid_is_out_with_the_reason(code, name):
    result = asked(book(offer("A", 60), offer("B", 70)), bid(0, code=code))
    assert (result.winner, result.loss_reason("A")) == ("B", name)


def test_a_bid_that_has_ended_by_the_decision_is_invalid():
    market = book(offer("A", 60), offer("B", 70))
    assert asked(market, bid(0, 10, valid_until=NOW)).loss_reason("A") == "bid_invalid"
    assert asked(market, bid(0, 10, valid_until=NOW + 1)).winner == "A"


def test_reasons_of_live_bids_come_after_the_third_and_before_the_fourth():
    market = book(
        offer("gone", 60, withdrawn=True),
        offer("unquoted", quotes=()),
        offer("held back", quotes=(quote(60, quarantined=True),)),
        offer("unpriced", input=None),
        offer("text only", 60),
    )
    result = asked(market, *(bid(row, code=33) for row in range(5)), wanted=task(modalities=("image",)))
    assert [view.loss_reason for view in sorted(result.views(), key=lambda view: view.row)] == [
        "withdrawn", "no_valid_quote", "quote_quarantined", "no_bid", "no_bid",
    ]  # fmt: skip


def test_who_has_no_price_that_counts_cannot_get_one_by_bidding():
    market = book(offer("held back", quotes=(quote(60, quarantined=True),)), offer("unpriced", input=None))
    result = asked(market, bid(0, 10), bid(1, 10))
    assert (result.loss_reason("held back"), result.loss_reason("unpriced")) == (
        "quote_quarantined",
        "unpriced",
    )


def test_a_task_that_nobody_bids_for_waits_since_that_passes():
    result = asked(book(offer("A", 60)), bid(0, code=33))
    assert (result.outcome, result.decision.code) == ("queued", "no_bid")


def test_what_decides_is_the_bid_that_came_furthest_in_the_order_of_the_tests():
    market = book(offer("A", 60), offer("B", 70, quality=0.5))
    wanted = task(min_quality=0.8)
    result = asked(market, bid(0, code=31), wanted=wanted)
    assert (result.outcome, result.decision.code) == ("unfilled", "quality_below_floor")
    full = asked(book(offer("A", 60), offer("B", 70)), bid(0, code=33), refused=["B"])
    assert (full.outcome, full.decision.code) == ("queued", "no_capacity")


def test_a_task_whose_only_bid_is_invalid_is_unfilled():
    assert asked(book(offer("A", 60)), bid(0, code=31)).outcome == "unfilled"


def test_a_claimed_quality_above_the_verified_one_counts_no_more_than_that():
    market = book(offer("A", 60, quality=0.7), offer("B", 60, quality=0.8))
    assert asked(market, bid(0, 60, quality=0.99), wanted=task(value=1_000)).winner == "B"
    view = asked(market, bid(0, 60, quality=0.99)).views()
    assert {v.offer.id: v.verified_ppm for v in view} == {"A": 700_000, "B": 800_000}


def test_a_claimed_quality_below_the_verified_one_counts_in_the_tasks_domain():
    market = book(offer("A", 60, quality={"": 0.9, "legal": 0.95}), offer("B", 70))
    wanted = task(domain="legal", min_quality=0.8)
    assert asked(market, bid(0, 60, quality=0.75), wanted=wanted).loss_reason("A") == "quality_below_floor"
    assert asked(market, bid(0, 60, quality=0.75), wanted=task(domain="code", min_quality=0.8)).winner == "B"


def test_a_slower_latency_bid_counts_and_a_faster_one_does_not():
    market = book(offer("A", 60, latency=800), offer("B", 70, latency=800))
    wanted = task(max_latency=1_000)
    assert asked(market, bid(0, 60, p50_ms=900, p95_ms=2_000), wanted=wanted).loss_reason("A") == "too_slow"
    slow = book(offer("A", 60, latency=2_000), offer("B", 70, latency=800))
    assert asked(slow, bid(0, 60, p50_ms=1, p95_ms=1), wanted=wanted).loss_reason("A") == "too_slow"


def test_a_slower_p95_bid_moves_the_latest_completion_as_far():
    market = book(offer("A", 60, latency=800, p99=3_000))
    wanted = task(complete_by=NOW + 3_100_000)
    assert asked(market, bid(0, 60), wanted=wanted).winner == "A"
    assert asked(market, bid(0, 60, p95_ms=1_000), wanted=wanted).loss_reason("A") == "too_late"


def test_a_bid_keeps_the_places_of_the_standing_quote():
    standing = replace(quote(60), capacity=Capacity(concurrency=3))
    result = asked(book(offer("A", quotes=(standing,))), bid(0, 50))
    assert result.decision.spot.book.quote_at(0, NOW).capacity == Capacity(concurrency=3)


@pytest.mark.parametrize(
    ("said", "quoted", "is_above"),
    [
        ({"input": 5, "output": 9}, {"input": 5, "output": 9}, False),
        ({"input": 6, "output": 9}, {"input": 5, "output": 9}, True),
        ({"input": 5, "output": 10}, {"input": 5, "output": 9}, True),
        ({"input": 5}, {"input": 5, "cached": 1}, True),
        ({"input": 5, "cached": 1}, {"input": 5, "cached": 1}, False),
        ({"input": 5, "write": 7}, {"input": 5, "write": 6}, True),
        ({"price": 2}, {"price": 1}, True),
        ({"input": 5}, {"input": 5, "steps": [PriceStep(100, 4)]}, True),
        ({"input": 5, "steps": [PriceStep(100, 8)]}, {"input": 5, "steps": [PriceStep(100, 9)]}, False),
        ({"input": 5, "steps": [PriceStep(50, 9)]}, {"input": 5, "steps": [PriceStep(100, 9)]}, True),
    ],
)
def test_a_bid_is_above_the_quote_if_any_of_its_prices_is_at_any_length(said, quoted, is_above):
    assert above(prices(**said), prices(**quoted)) is is_above


def test_a_decision_to_wait_looks_ahead_with_the_standing_quotes():
    market = book(stepping(), offer("B", 200))
    wanted = task(complete_by=DEADLINE, max_cost=1_000)
    held = decide(wanted, market)
    assert held.outcome == "held"
    dear = asked(market, bid(1, 190), wanted=wanted)
    assert (dear.outcome, dear.decision.deferral.slot) == ("held", held.decision.deferral.slot)
    cheap = asked(market, bid(1, 1), wanted=wanted)
    assert (cheap.outcome, cheap.winner, cheap.price) == ("awarded", "B", 1)


def test_a_bid_for_now_says_nothing_of_the_same_offer_s_price_later():
    market = book(stepping(), offer("B", 200))
    wanted = task(complete_by=DEADLINE, max_cost=1_000)
    held = decide(wanted, market)
    now = held.bid(market.rows[0].offer.id)
    same = asked(market, bid(0, now), wanted=wanted)
    assert same.decision.deferral == held.decision.deferral


def test_live_bids_replay_to_the_byte_and_the_record_names_the_books_own_digest():
    market = book(offer("A", 60), offer("B", 50), offer("C", 55), offer("D", 58))
    given = (
        bid(0, 40, valid_until=NOW + 10, quality=0.5, p50_ms=900, p95_ms=1_500),
        bid(1, 51),
        bid(2, code=33, said="at_capacity"),
        bid(3, code=30, at=None),
    )
    inputs = Inputs(live=given, closes_at=CLOSES)
    line = recorded(task(), market, inputs)
    again = replay(line, market, SEED)
    assert again.identical
    assert again.inputs == inputs
    record = orjson.loads(line)
    assert record["book"] == {"version": market.version, "digest": market.digest.hex()}
    assert (record["winner"], record["price"]) == ("A", 40)
    assert not replay(
        recorded(task(), market, replace(inputs, closes_at=CLOSES - 1)), market, SEED
    ).decision.top


def test_a_record_without_live_bids_or_closed_lanes_says_nothing_of_them():
    assert orjson.loads(recorded(task(), book(offer("A", 60))))["inputs"].keys() == {
        "rule",
        "refused",
        "reference_cost",
    }


def test_an_offer_on_a_closed_lane_lacks_a_feature_and_that_replays():
    market = book(offer("A", 60, lane="batch"), offer("B", 70))
    result = decide(task(), market, closed_lanes=("batch",))
    assert (result.winner, result.loss_reason("A")) == ("B", "feature_missing")
    assert decide(task(), market).winner == "A"
    line = recorded(task(), market, Inputs(closed_lanes=("batch",)))
    assert replay(line, market, SEED).identical
    assert orjson.loads(line)["inputs"]["closed_lanes"] == ["batch"]


def test_the_review_says_what_the_bidder_said():
    market = book(offer("A", 60), offer("B", 70))
    view = next(v for v in asked(market, bid(0, code=33, said="at_capacity")).views() if v.offer.id == "A")
    assert (view.loss_reason, view.live.said, view.bid_nano) == ("no_bid", "at_capacity", 60)
