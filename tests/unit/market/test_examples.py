"""The worked examples of the rulebook (MARKET.md section 12); E10 is in test_tariff.py. Money in nano-USD."""

import pytest

from lowtide.market.record import auction_key
from tests.market_builder import book, decide, offer, task

A = offer("A", 6_000, quality=0.90, latency=800, settles=True)
B = offer("B", 4_500, quality=0.80, latency=1_500, settles=True)
C = offer("C", 3_000, quality=0.65, latency=500, settles=True)
D = offer("D", 10_500, quality=0.95, latency=500, settles=True)
WANTED = {"value": 20_000, "per_second": 1_000, "min_quality": 0.70, "max_cost": 10_000}


@pytest.mark.parametrize(("rule", "paid"), [("posted", 6_000), ("second_score", 7_200)])
def test_e1_the_greatest_surplus_wins_and_every_loser_hears_why(rule, paid):
    result = decide(task(**WANTED), book(A, B, C, D), rule=rule)
    assert (result.outcome, result.winner, result.price) == ("awarded", "A", paid)
    assert (result.score("A"), result.score("B")) == (11_200, 10_000)
    reasons = {name: result.loss_reason(name) for name in "ABCD"}
    assert reasons == {"A": None, "B": "outbid", "C": "quality_below_floor", "D": "over_budget"}


def test_e1_min_to_win_is_the_price_at_which_each_bid_would_have_tied():
    result = decide(task(**WANTED), book(A, B, C, D))
    told = {name: result.min_to_win(name) for name in "ABCD"}
    assert told == {"A": 7_200, "B": 3_300, "C": None, "D": 7_300}


@pytest.mark.parametrize("name", ["B", "D"])
def test_e1_a_loser_that_asks_its_min_to_win_ties_and_one_nano_less_wins(name):
    rows = {"A": A, "B": B, "C": C, "D": D}
    told = decide(task(**WANTED), book(*rows.values())).min_to_win(name)
    quality, latency = {"B": (0.80, 1_500), "D": (0.95, 500)}[name]
    for less, tied in ((0, True), (1, False)):
        rows[name] = offer(name, told - less, quality=quality, latency=latency)
        result = decide(task(**WANTED), book(*rows.values()))
        assert (result.score(name) == result.score("A")) == tied
        assert tied or result.winner == name


def test_a_lone_bid_over_the_budget_hears_at_which_price_it_would_have_been_admitted():
    result = decide(task(max_cost=10_000), book(D))
    assert (result.outcome, result.min_to_win("D")) == ("unfilled", 10_000)


def test_a_lone_bid_below_the_reserve_hears_at_which_price_it_would_have_met_it():
    result = decide(task(value=10_000), book(D))
    assert (result.loss_reason("D"), result.min_to_win("D")) == ("below_reserve", 9_500)


def test_e2_alone_and_without_a_fallback_the_winner_takes_the_whole_budget():
    wanted = task(max_cost=10_000, min_quality=0.70)
    result = decide(wanted, book(A), rule="second_score")
    assert (result.winner, result.price, result.thin) == ("A", 10_000, False)


def test_e2_alone_with_a_value_the_reserve_of_no_surplus_does_not_lift_it_beyond_the_budget():
    assert decide(task(**WANTED), book(A), rule="second_score").price == 10_000


def test_e2_a_fallback_sets_the_price_of_a_lone_winner():
    public = offer("public", 8_000, quality=0.90, latency=800)
    result = decide(task(**WANTED, fallback="public"), book(A, public), rule="second_score")
    assert result.decision.spot.reserve_nano == 9_200
    assert (result.winner, result.price) == ("A", 8_000)


def test_e2_a_bid_under_the_fallback_is_below_reserve_and_the_fallback_gets_its_own_price():
    public = offer("public", 5_000, quality=0.90, latency=800)
    result = decide(task(**WANTED, fallback="public"), book(A, public), rule="second_score")
    assert (result.winner, result.price) == ("public", 5_000)
    assert result.loss_reason("A") == "below_reserve"


def test_e4_a_hopeless_bid_changes_nothing():
    cheap = offer("A", 2_000, quality=0.60, latency=0)
    good = offer("B", 2_600, quality=0.95, latency=0, settles=True)
    hopeless = offer("C", 10_000, quality=0.10, latency=0)
    two = decide(task(value=10_000), book(cheap, good), rule="second_score")
    three = decide(task(value=10_000), book(cheap, good, hopeless), rule="second_score")
    assert (two.winner, two.price) == (three.winner, three.price) == ("B", 5_500)
    assert three.loss_reason("C") == "below_reserve"
    assert three.ranking == two.ranking == ["B", "A"]


def test_e5_without_value_and_budget_the_cheapest_wins_at_the_second_cheapest_bid():
    result = decide(task(), book(A, B, C), rule="second_score")
    assert (result.winner, result.price, result.thin) == ("C", 4_500, False)


def test_e5_alone_it_is_paid_its_own_bid_and_the_record_says_thin():
    result = decide(task(), book(C), rule="second_score")
    assert (result.winner, result.price, result.thin) == ("C", 3_000, True)


def test_e8_with_a_budget_only_the_cheapest_wins_at_the_second_price():
    result = decide(task(max_cost=10_000), book(A, B), rule="second_score")
    assert (result.winner, result.price) == ("B", 6_000)
    assert result.min_to_win("A") == 4_500


def test_an_offer_that_does_not_settle_through_us_is_paid_what_it_asks_whatever_the_rule():
    public = offer("public", 4_500)
    result = decide(task(max_cost=10_000), book(A, public), rule="second_score")
    assert (result.winner, result.price, result.decision.rule) == ("public", 4_500, "posted")


def test_e9_over_many_seeds_each_of_two_equal_bids_wins_half_the_ties():
    market, wanted = book(offer("one", 5_000), offer("two", 5_000)), task()
    wins = 0
    for seed in range(10_000):
        result = decide(wanted, market, key=auction_key(seed.to_bytes(32, "big"), "auc_1"))
        assert result.loss_reason("two" if result.winner == "one" else "one") == "lost_tie"
        wins += result.winner == "one"
    assert abs(wins - 5_000) <= 200


def test_e9_neither_arrival_nor_the_order_of_ids_decides_a_tie():
    keys = [auction_key(bytes([number]) * 32, "auc_1") for number in range(40)]
    one, two, wanted = offer("one", 5_000), offer("two", 5_000), task()
    forth = [decide(wanted, book(one, two), key=key).winner for key in keys]
    back = [decide(wanted, book(two, one), key=key).winner for key in keys]
    assert forth == back
    assert set(forth) == {"one", "two"}
