"""Who may win, and the one reason of everybody else (MARKET.md section 4)."""

from dataclasses import replace

import numpy as np
import pytest

from lowtide.market.eligibility import LossReason, passes
from lowtide.market.task import Lists
from tests.market_builder import NOW, book, decide, offer, prices, quote, task

SECOND = 1_000_000
RIVAL = offer("rival", 100, regions=("eu",), zero_retention=True, features=("tools",), quality=0.99)
STRICT = {
    "max_cost": 10_000,
    "min_quality": 0.70,
    "max_latency": 2_000,
    "complete_by": NOW + 10 * SECOND,
    "regions": ("eu",),
    "zero_retention": True,
    "features": ("tools",),
    "lists": Lists(exclude_providers=("barred",)),
    "input_bytes": 4_000,
    "max_output": 1_000,
}
ABLE = {"regions": ("eu",), "zero_retention": True, "features": ("tools",)}
FAULTS = {
    "withdrawn": {"withdrawn": True},
    "no_valid_quote": {"quotes": [quote(50, 0, NOW)]},
    "quote_quarantined": {"quotes": [quote(50, quarantined=True)]},
    "unpriced": {"output": None},
    "not_allowed": {"provider": "barred"},
    "modality_missing": {"modalities": ("image",)},
    "feature_missing": {"features": ()},
    "context_too_long": {"context_window": 1_999},
    "output_too_long": {"max_output_tokens": 999},
    "region_not_allowed": {"regions": ("us",)},
    "retention_not_allowed": {"zero_retention": False},
    "circuit_open": {"circuit": "open"},
    "quality_below_floor": {"quality": 0.69},
    "too_slow": {"latency": 2_001},
    "too_late": {"p99": 10_001},
    "over_budget": {"price": 10_001},
}


def row_with(*names):
    merged = ABLE | {"price": 50}
    for name in names:
        merged |= FAULTS[name]
    return offer("A", **merged)


def test_an_offer_without_a_fault_wins():
    assert decide(task(**STRICT), book(RIVAL, row_with())).winner == "A"


@pytest.mark.parametrize("reason", FAULTS)
def test_one_fault_is_the_reason(reason):
    result = decide(task(**STRICT), book(RIVAL, row_with(reason)))
    assert (result.winner, result.loss_reason("A")) == ("rival", reason)


def test_a_row_whose_reservation_failed_has_no_capacity():
    result = decide(task(**STRICT), book(RIVAL, row_with()), refused=["A"])
    assert (result.winner, result.loss_reason("A")) == ("rival", "no_capacity")


def test_a_bid_that_leaves_less_than_the_reserve_is_below_it():
    result = decide(task(value=100), book(offer("A", 80, quality=0.9), offer("B", 95, quality=0.9)))
    assert (result.winner, result.loss_reason("B")) == ("A", "below_reserve")


def test_the_others_still_in_are_outbid():
    result = decide(task(), book(offer("A", 80), offer("B", 95), offer("C", 99)))
    assert [result.loss_reason(name) for name in "ABC"] == [None, "outbid", "outbid"]


def test_who_offered_as_much_as_the_winner_lost_a_tie_and_the_rest_are_outbid():
    result = decide(task(), book(offer("A", 80), offer("B", 80), offer("C", 99)))
    loser = "B" if result.winner == "A" else "A"
    assert (result.loss_reason(loser), result.loss_reason("C")) == ("lost_tie", "outbid")


def test_a_tie_between_losers_is_no_lost_tie():
    result = decide(task(), book(offer("A", 80), offer("B", 90), offer("C", 90)))
    assert [result.loss_reason(name) for name in "ABC"] == [None, "outbid", "outbid"]


@pytest.mark.parametrize(
    ("first", "second"),
    # A row has one quote: its faults replace each other.
    [
        pair
        for pair in zip(list(FAULTS), list(FAULTS)[1:], strict=False)
        if pair not in (("no_valid_quote", "quote_quarantined"), ("quote_quarantined", "unpriced"))
    ],
)
def test_of_two_faults_the_first_of_the_table_is_the_reason(first, second):
    assert decide(task(**STRICT), book(RIVAL, row_with(first, second))).loss_reason("A") == first


@pytest.mark.parametrize("reason", FAULTS)
def test_capacity_stands_between_the_circuit_and_quality(reason):
    result = decide(task(**STRICT), book(RIVAL, row_with(reason)), refused=["A"])
    earlier = LossReason[reason.upper()] < LossReason.NO_CAPACITY
    assert result.loss_reason("A") == (reason if earlier else "no_capacity")


def test_a_quarantined_quote_without_a_price_is_quarantined():
    both = replace(quote(quarantined=True), prices=prices(output=None))
    assert decide(task(), book(offer("A", quotes=[both]))).loss_reason("A") == "quote_quarantined"


def test_a_row_that_fails_everything_has_the_first_reason_only():
    every = [name for name in FAULTS if name not in ("no_valid_quote", "quote_quarantined")]
    result = decide(task(**STRICT), book(RIVAL, row_with(*every)), refused=["A"])
    assert result.loss_reason("A") == "withdrawn"


def test_the_numbers_of_the_reasons_are_those_of_the_rulebook():
    assert [reason.value for reason in LossReason] == [*range(19), 20, 21, 22, *range(30, 35)]
    assert (LossReason.TOO_LATE, LossReason.OUTBID, LossReason.NOT_ASKED) == (16, 20, 34)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (name, "queued" if name in ("no_valid_quote", "quote_quarantined", "circuit_open") else "unfilled")
        for name in FAULTS
        if name not in ("over_budget",)
    ],
)
def test_a_task_is_unfilled_where_the_only_reason_lasts_and_queued_where_it_passes(reason, outcome):
    result = decide(task(**STRICT), book(row_with(reason)))
    assert (result.outcome, result.decision.code, result.winner) == (outcome, reason, None)


def test_one_reason_that_passes_among_lasting_ones_is_enough_to_queue():
    result = decide(task(**STRICT), book(row_with("too_slow"), offer("B", 50, circuit="open", **ABLE)))
    assert (result.outcome, result.decision.code) == ("queued", "circuit_open")


def test_a_full_market_queues():
    assert decide(task(), book(offer("A", 50)), refused=["A"]).outcome == "queued"


@pytest.mark.parametrize(("complete_by", "outcome"), [(None, "unfilled"), (NOW + 60 * SECOND, "queued")])
def test_over_budget_passes_only_where_there_is_a_deadline(complete_by, outcome):
    result = decide(task(max_cost=10, complete_by=complete_by), book(offer("A", 50)))
    assert (result.outcome, result.decision.code) == (outcome, "over_budget")


@pytest.mark.parametrize(("complete_by", "outcome"), [(None, "unfilled"), (NOW + 60 * SECOND, "queued")])
def test_below_reserve_passes_only_where_there_is_a_deadline(complete_by, outcome):
    result = decide(task(value=10, complete_by=complete_by), book(offer("A", 50)))
    assert (result.outcome, result.decision.code) == (outcome, "below_reserve")


def test_the_reasons_that_pass_are_those_marked_in_the_rulebook():
    passing = {reason.value for reason in LossReason if passes(reason, has_deadline=False)}
    assert passing == {2, 3, 12, 13, 30, 33, 34}
    with_deadline = {reason.value for reason in LossReason if passes(reason, has_deadline=True)}
    assert with_deadline == passing | {17, 18}


def test_an_empty_market_is_unfilled_for_want_of_offers():
    result = decide(task(), book())
    assert (result.outcome, result.decision.code, result.decision.nearest) == ("unfilled", "no_offers", None)


def test_the_nearest_bid_is_the_cheapest_of_those_that_came_furthest():
    result = decide(task(max_cost=10), book(offer("A", 50), offer("B", 40), offer("C", 1, withdrawn=True)))
    assert result.book.rows[result.decision.nearest].offer.id == "B"


@pytest.mark.parametrize(
    ("lists", "admitted"),
    [
        (Lists(models=("model",)), True),
        (Lists(models=("A",)), True),
        (Lists(models=("other",)), False),
        (Lists(models=()), False),
        (Lists(providers=("A-provider",)), True),
        (Lists(providers=("other",)), False),
        (Lists(exclude_providers=("A-provider",)), False),
    ],
)
def test_lists_admit_by_the_markets_model_the_upstreams_or_the_provider(lists, admitted):
    result = decide(task(lists=lists), book(offer("A", 50)))
    assert result.loss_reason("A") == (None if admitted else "not_allowed")


def test_an_offer_that_names_no_region_is_in_none():
    assert decide(task(regions=("eu",)), book(offer("A", 50))).loss_reason("A") == "region_not_allowed"


def test_latency_is_the_p95_to_first_token_and_the_expected_output_at_its_pace_rounded_up():
    row = offer("A", 50, latency=100, p95=500, us_per_token=333)
    for limit, reason in ((534, None), (533, "too_slow")):
        assert decide(task(max_output=200, max_latency=limit), book(row)).loss_reason("A") == reason


def test_a_known_p99_decides_the_deadline_and_twice_the_p95_until_then():
    for p99, needed in ((0, 3_000), (2_000, 2_000)):
        row = offer("A", 50, p95=1_500, p99=p99)
        fits, late = NOW + needed * 1_000, NOW + needed * 1_000 - 1
        assert decide(task(complete_by=fits), book(row)).winner == "A"
        assert decide(task(complete_by=late), book(row)).loss_reason("A") == "too_late"


def test_confidence_asks_for_proof_where_the_mean_does_not():
    few, many = offer("few", 50, quality=0.9, weight=5), offer("many", 60, quality=0.9, weight=2_000)
    assert decide(task(min_quality=0.85), book(few, many)).winner == "few"
    sure = decide(task(min_quality=0.85, confidence=0.9), book(few, many))
    assert (sure.winner, sure.loss_reason("few")) == ("many", "quality_below_floor")


def test_quality_is_that_of_the_tasks_domain_and_in_general_where_it_has_none():
    row = offer("A", 50, quality={"": 0.6, "law": 0.9})
    assert decide(task(min_quality=0.8, domain="law"), book(row)).winner == "A"
    assert decide(task(min_quality=0.8, domain="code"), book(row)).loss_reason("A") == "quality_below_floor"


def test_no_task_may_cost_more_than_a_thousand_dollars():
    assert decide(task(), book(offer("A", "1000"))).winner == "A"
    assert decide(task(), book(offer("A", "1000.000000001"))).loss_reason("A") == "over_budget"


def test_reasons_are_one_byte_a_row():
    reasons = decide(task(), book(offer("A", 50), offer("B", 60))).decision.reasons
    assert reasons.dtype == np.int8
    assert reasons.tolist() == [0, 20]
