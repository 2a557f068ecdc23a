"""Waiting for prices that are posted already (MARKET.md section 9)."""

from dataclasses import replace

import pytest

from lowtide.market.book import Book
from lowtide.market.deferral.safety import GUARD_US
from lowtide.market.record import auction_key
from tests.market_builder import NOW, book, decide, offer, quote, task

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
STEP = NOW + 2 * HOUR
DEADLINE = NOW + 6 * HOUR


def stepping(name="A", now=100, then=40, at=STEP, until=None, latency=1_000, **fields):
    """An offer that costs `now` until `at`, and `then` from there on, as a tariff's UTC intervals say."""
    quotes = [quote(now, 0, at, sequence=1), quote(then, at, until or at + 24 * HOUR, sequence=2)]
    return offer(name, quotes=quotes, latency=latency, **fields)


def held(wanted, market, **options):
    result = decide(wanted, market, **options)
    assert result.outcome == "held"
    return result.decision.deferral


def test_a_task_with_slack_is_held_for_a_step_that_is_sure_to_come():
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping()))
    assert (plan.policy, plan.slot, plan.row) == ("known_price", STEP, 0)
    assert (plan.price_now_nano, plan.expected_nano, plan.reservation_nano) == (100, 40, 40)


def test_the_latest_start_leaves_room_for_the_best_twice_and_a_restart():
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(p99=7_000)))
    assert plan.latest_start == DEADLINE - 2 * 7_000 * 1_000 - GUARD_US


def test_the_latest_start_counts_the_best_at_another_provider_as_the_second_try():
    market = book(
        stepping("A", p99=7_000, provider="one"),
        offer("B", 150, p99=60_000, provider="one"),
        offer("C", 200, p99=9_000, provider="two"),
        offer("D", 300, p99=90_000, provider="three"),
    )
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), market)
    assert plan.latest_start == DEADLINE - (7_000 + 9_000) * 1_000 - GUARD_US


def test_until_a_p99_is_known_twice_the_p95_stands_in():
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(p95=5_000)))
    assert plan.latest_start == DEADLINE - 2 * 10_000 * 1_000 - GUARD_US


def test_without_a_deadline_nothing_waits():
    result = decide(task(max_cost=1_000), book(stepping()))
    assert (result.outcome, result.winner, result.price) == ("awarded", "A", 100)


@pytest.mark.parametrize(("late", "outcome"), [(0, "held"), (1, "awarded")])
def test_a_step_after_the_latest_start_is_no_use(late, outcome):
    latest = DEADLINE - 4_000 * 1_000 - GUARD_US
    market = book(stepping(at=latest + late))
    assert decide(task(complete_by=DEADLINE, max_cost=1_000), market).outcome == outcome


def test_a_step_up_runs_now():
    assert (
        decide(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(now=40, then=100))).outcome
        == "awarded"
    )


def test_an_equal_price_later_is_no_reason_to_wait():
    assert (
        decide(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(now=40, then=40))).outcome
        == "awarded"
    )


def test_a_forward_quote_of_another_offer_is_worth_waiting_for():
    market = book(offer("A", 100), offer("B", quotes=[quote(30, STEP, STEP + 10 * HOUR)]))
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), market)
    assert (plan.slot, plan.row, plan.reservation_nano) == (STEP, 1, 30)


def test_the_cheapest_of_several_steps_is_taken_and_the_first_of_equal_ones():
    quotes = [
        quote(100, 0, NOW + HOUR, sequence=1),
        quote(70, NOW + HOUR, NOW + 2 * HOUR, sequence=2),
        quote(40, NOW + 2 * HOUR, NOW + 3 * HOUR, sequence=3),
        quote(90, NOW + 3 * HOUR, NOW + 4 * HOUR, sequence=4),
        quote(40, NOW + 4 * HOUR, NOW + 9 * HOUR, sequence=5),
    ]
    assert (
        held(task(complete_by=DEADLINE, max_cost=1_000), book(offer("A", quotes=quotes))).slot
        == NOW + 2 * HOUR
    )


def test_time_that_costs_more_than_the_step_saves_is_not_spent():
    two_hours = 7_200
    for per_second, saved, outcome in ((1, two_hours + 1, "held"), (1, two_hours, "awarded")):
        market = book(stepping(now=10_000, then=10_000 - saved))
        wanted = task(complete_by=DEADLINE, max_cost=100_000, per_second=per_second)
        assert decide(wanted, market).outcome == outcome


def test_the_reservation_price_is_what_would_make_running_now_as_good_as_waiting():
    market = book(stepping(now=10_000, then=1_000))
    plan = held(task(complete_by=DEADLINE, max_cost=100_000, per_second=1), market)
    assert plan.reservation_nano == 1_000 + 7_200


def test_a_price_that_is_only_quoted_until_replaced_does_not_hold_without_a_history():
    quotes = [quote(100, 0, STEP, sequence=1), quote(40, STEP, None, sequence=2)]
    wanted = task(complete_by=DEADLINE, max_cost=1_000)
    assert decide(wanted, book(offer("A", quotes=quotes))).outcome == "awarded"


@pytest.mark.parametrize(("highest", "outcome"), [(1_000, "held"), (1_001, "awarded")])
def test_the_highest_price_of_the_history_must_fit_the_budget(highest, outcome):
    quotes = [quote(100, 0, STEP, sequence=1), quote(40, STEP, None, sequence=2)]
    market = book(offer("A", quotes=quotes, price_max=(0, 0, highest)))
    assert decide(task(complete_by=DEADLINE, max_cost=1_000), market).outcome == outcome


def test_the_history_counts_at_worst_case_tokens():
    quotes = [
        quote(start=0, until=STEP, input=200, output=200),
        quote(start=STEP, input=100, output=100, sequence=2),
    ]
    wanted = {"complete_by": DEADLINE, "input_bytes": 4_000_000, "max_output": 1_000_000}
    row = offer("A", quotes=quotes, price_max=(300, 400, 5), context_window=2**22, max_output_tokens=2**20)
    needed = 5 + (1_250_000 * 300 + 1_000_000 * 400) // 1_000_000
    for budget, outcome in ((needed, "held"), (needed - 1, "awarded")):
        assert decide(task(max_cost=budget, **wanted), book(row)).outcome == outcome


def test_a_rescue_that_would_be_over_budget_is_no_rescue():
    quotes = [
        quote(100, 0, STEP, sequence=1),
        quote(40, STEP, STEP + HOUR, sequence=2),
        quote(5_000, STEP + HOUR, STEP + 24 * HOUR, sequence=3),
    ]
    market = book(offer("A", quotes=quotes))
    assert decide(task(complete_by=DEADLINE, max_cost=1_000), market).outcome == "awarded"
    assert decide(task(complete_by=DEADLINE, max_cost=5_000), market).outcome == "held"


def test_nobody_now_but_a_known_step_before_the_latest_start_is_held():
    market = book(offer("A", quotes=[quote(40, STEP, STEP + 10 * HOUR)]))
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), market)
    assert (plan.slot, plan.price_now_nano, plan.expected_nano) == (STEP, None, 40)
    assert decide(task(max_cost=1_000), market).outcome == "queued"


def test_too_dear_now_but_within_budget_from_a_known_step_is_held():
    plan = held(task(complete_by=DEADLINE, max_cost=50), book(stepping()))
    assert (plan.slot, plan.price_now_nano) == (STEP, None)


def test_places_that_are_full_now_count_as_free_by_the_step():
    plan = held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping()), refused=["A"])
    assert (plan.slot, plan.price_now_nano) == (STEP, None)


def test_a_task_whose_cheap_offer_is_only_full_queues_for_the_place_rather_than_a_later_slot():
    quotes = [
        quote(40, 0, STEP, sequence=1),
        quote(100, STEP, STEP + HOUR, sequence=2),
        quote(40, STEP + HOUR, STEP + 9 * HOUR, sequence=3),
    ]
    market = book(offer("A", quotes=quotes, latency=1_000))
    result = decide(task(complete_by=DEADLINE, max_cost=1_000), market, refused=["A"])
    assert (result.outcome, result.decision.code) == ("queued", "no_capacity")


def test_releases_are_spread_over_at_most_a_tenth_of_their_window():
    market = book(stepping(until=STEP + HOUR))
    wanted = task(complete_by=DEADLINE, max_cost=1_000)
    quotes = [*market.rows[0].quotes, quote(500, STEP + HOUR, STEP + 24 * HOUR, sequence=3)]
    market = Book(1, [replace(market.rows[0], quotes=tuple(quotes))])
    releases = {held(wanted, market, key=auction_key(bytes([n]) * 32, "auc")).release_at for n in range(100)}
    assert len(releases) == 100
    assert min(releases) >= STEP
    assert max(releases) < STEP + 6 * MINUTE


def test_a_long_window_spreads_its_releases_over_ten_minutes_at_most():
    wanted = task(complete_by=NOW + 48 * HOUR, max_cost=1_000)
    for number in range(100):
        plan = held(
            wanted, book(stepping(until=NOW + 72 * HOUR)), key=auction_key(bytes([number]) * 32, "auc")
        )
        assert STEP <= plan.release_at < STEP + 10 * MINUTE


def test_where_time_costs_the_release_is_not_spread():
    plan = held(task(complete_by=DEADLINE, max_cost=100_000, per_second=1), book(stepping(now=50_000)))
    assert plan.release_at == plan.slot == STEP


def test_a_release_never_lies_beyond_the_latest_start():
    latest = DEADLINE - 4_000 * 1_000 - GUARD_US
    for number in range(50):
        key = auction_key(bytes([number]) * 32, "auc")
        plan = held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(at=latest - 30)), key=key)
        assert plan.slot <= plan.release_at <= plan.latest_start == latest


def test_at_its_release_a_held_task_is_awarded_at_the_price_it_waited_for():
    wanted, market = task(complete_by=DEADLINE, max_cost=1_000), book(stepping())
    plan = held(wanted, market)
    result = decide(wanted, market, at=plan.release_at)
    assert (result.outcome, result.winner, result.price) == ("awarded", "A", 40)


def test_at_the_latest_start_it_runs_though_a_better_price_is_near():
    latest = DEADLINE - 4_000 * 1_000 - GUARD_US
    wanted, market = task(complete_by=DEADLINE, max_cost=1_000), book(stepping(at=latest + SECOND))
    result = decide(wanted, market, at=latest)
    assert (result.outcome, result.price) == ("awarded", 100)


def test_a_held_task_has_no_winner_and_its_bids_stay_in():
    result = decide(task(complete_by=DEADLINE, max_cost=1_000), book(stepping(), offer("B", 200)))
    assert (result.winner, result.price) == (None, None)
    assert (result.loss_reason("A"), result.loss_reason("B")) == (None, None)
    assert result.ranking == ["A", "B"]


def test_a_slot_whose_best_is_too_slow_for_a_second_try_is_not_waited_for():
    slow_at = DEADLINE - 3_560 * SECOND
    slow = offer(
        "slow", quotes=[quote(100, 0, slow_at), quote(1, slow_at, DEADLINE, sequence=2)], p99=3_540_000
    )
    quick = [offer(name, 50, p99=5_000) for name in ("A", "B")]
    assert decide(task(complete_by=DEADLINE), book(slow, *quick)).winner in ("A", "B")
    earlier = DEADLINE - 62 * MINUTE
    slow = offer(
        "slow", quotes=[quote(100, 0, earlier), quote(1, earlier, DEADLINE, sequence=2)], p99=3_540_000
    )
    assert held(task(complete_by=DEADLINE), book(slow, *quick)).slot == earlier


@pytest.mark.parametrize(("other_then", "outcome"), [(90, "held"), (2_000, "awarded")])
def test_a_task_that_two_providers_can_serve_is_not_held_until_only_one_can(other_then, outcome):
    market = book(stepping("A"), stepping("B", now=110, then=other_then))
    assert decide(task(complete_by=DEADLINE, max_cost=1_000), market).outcome == outcome


def test_a_quote_of_the_second_provider_that_only_lapses_until_then_is_taken_to_be_renewed():
    lapsing = offer("B", quotes=[quote(110, 0, NOW + HOUR)])
    assert held(task(complete_by=DEADLINE, max_cost=1_000), book(stepping("A"), lapsing)).slot == STEP
