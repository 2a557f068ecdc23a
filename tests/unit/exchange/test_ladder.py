"""The ladder against the clock: a call that fails leaves the next provider its time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.exchange.award import Candidate
from lowtide.exchange.ladder import MARGIN_US, call_limit, latest_start, next_step, next_try, passes_left
from lowtide.market.deferral.safety import GUARD_US
from lowtide.market.quote import Prices
from tests.market_builder import offer

SECOND = 1_000_000


def ladder(*bids: tuple[str, float]) -> tuple[Candidate, ...]:
    """Bids by rank: provider and p99 in seconds."""
    return tuple(
        Candidate(row, offer(f"o{row}", provider=name).offer, Prices(0, 0), 1, 1, 1, round(1_000 * p99), 0)
        for row, (name, p99) in enumerate(bids)
    )


@pytest.mark.parametrize("elsewhere", [1, 5, 60, 600])
@pytest.mark.parametrize("own", [1, 5, 60])
def test_at_the_latest_start_a_call_that_hangs_leaves_the_next_provider_its_p99(own, elsewhere):
    bids = ladder(("p", own), ("q", elsewhere))
    left = (own + elsewhere) * SECOND + GUARD_US
    limit = call_limit(bids, bids[0], left)
    assert limit >= own * SECOND
    assert next_step(bids, 0, left - limit - MARGIN_US, [0, 0]) == 1


def test_it_leaves_the_time_of_the_quickest_elsewhere_not_of_the_next_by_rank():
    bids = ladder(("p", 5), ("q", 100), ("r", 5))
    assert call_limit(bids, bids[0], 40 * SECOND) == 5 * SECOND
    assert next_step(bids, 0, 34 * SECOND, [0, 0, 0]) == 2


def test_where_there_is_no_time_for_two_a_call_has_all_of_it():
    bids = ladder(("p", 50), ("q", 50))
    assert call_limit(bids, bids[0], 60 * SECOND) == 60 * SECOND


def test_another_bid_of_the_provider_that_failed_is_passed_over_if_it_could_cost_the_others_their_time():
    bids = ladder(("p", 5), ("p", 40), ("q", 20))
    assert next_step(bids, 0, 50 * SECOND, [0, 0, 0]) == 2
    assert next_step(bids, 0, 61 * SECOND, [0, 0, 0]) == 1


def test_what_is_hopeless_or_too_slow_is_not_called():
    bids = ladder(("p", 5), ("q", 20), ("r", 8))
    assert next_step(bids, 0, 10 * SECOND, [0, 0, 0]) == 2
    assert next_step(bids, 0, 10 * SECOND, [0, 0, SECOND], hopeless={2}) == 3
    assert next_step(bids, 0, 4 * SECOND, [0, 0, 0]) is None


def test_a_call_is_not_cut_short_for_a_provider_that_has_failed_already():
    bids = ladder(("p", 60), ("q", 110))
    assert call_limit(bids, bids[1], 137 * SECOND, {"p"}) == 137 * SECOND


HOUR = 3_600 * SECOND


def test_the_tries_of_a_task_with_time_left_come_at_growing_pauses_and_the_last_at_its_latest_start():
    now, latest, tries = 0, 30 * HOUR, []
    for passes in range(5, 0, -1):
        now = next_try(0, now, latest, passes, now)
        tries.append(now)
    pauses = [later - earlier for earlier, later in pairwise([0, *tries])]
    assert pauses == sorted(pauses)
    assert tries[-1] == latest
    assert pauses[0] < 60 * SECOND
    assert tries[2] < HOUR


def test_no_try_comes_before_its_provider_asked_for_and_none_where_that_is_too_late_or_no_time_is_left():
    assert next_try(0, 0, HOUR, 5, 600 * SECOND) == 600 * SECOND
    assert next_try(0, 0, HOUR, 1, 0) == HOUR
    assert next_try(0, 0, HOUR, 5, HOUR + 1) is None
    assert next_try(0, 0, HOUR, 0, 0) is None
    assert next_try(0, HOUR, HOUR + 4 * SECOND, 5, HOUR) is None


@given(
    now=st.integers(0, 40 * HOUR),
    left=st.integers(-HOUR, 400 * HOUR),
    passes=st.integers(0, 20),
    pause=st.integers(0, 30 * SECOND),
)
def test_a_try_is_never_before_now_nor_after_the_latest_start(now, left, passes, pause):
    found = next_try(0, now, now + left, passes, now + pause)
    assert found is None or now + pause <= found <= now + left


def test_tries_are_passes_over_the_ladder_and_those_kept_are_passes_of_their_own():
    assert [passes_left(tries, 2, 1) for tries in (0, 1, 2, 5)] == [0, 1, 2, 5]
    assert [passes_left(tries, 2, 4) for tries in (2, 3, 6, 7)] == [2, 3, 3, 4]


def test_the_latest_start_leaves_time_for_the_best_and_the_best_elsewhere():
    bids = ladder(("p", 5), ("p", 50), ("q", 20))
    assert latest_start(bids, HOUR) == HOUR - 25 * SECOND - GUARD_US
    assert latest_start(bids, HOUR, {2}) == HOUR - 10 * SECOND - GUARD_US
    assert latest_start(bids, HOUR, {0, 1, 2}) is None
