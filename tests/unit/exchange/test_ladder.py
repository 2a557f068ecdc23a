"""The ladder against the clock: a call that fails leaves the next provider its time."""

import pytest

from lowtide.exchange.award import Candidate
from lowtide.exchange.ladder import MARGIN_US, call_limit, next_step
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
