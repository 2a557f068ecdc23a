"""Batch bids: how sure they are to be back, what they cost with their rescue, and when none is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market import auction
from lowtide.market.batch_times import LEVELS_PPM, BatchTimes
from lowtide.market.deferral.safety import GUARD_US
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from lowtide.market.spot import Inputs
from lowtide.values.instants import HOUR_US, MINUTE_US
from tests.market_builder import NOW, book, offer, quote, task

SEED = bytes(32)
KEY = auction_key(SEED, "auc_1")
TIMES = BatchTimes("north", tuple(hour * 3_600_000 for hour in (1, 2, 4, 8, 12, 18, 24)))
INPUTS = Inputs(closed_lanes=("batch",), batches=(TIMES,))


def decided(wanted, market, inputs=INPUTS):
    return auction.decide(wanted, market, inputs, NOW, KEY)


def lanes(batch=50, standard=100, **fields):
    """A batch lane and a standard one of a provider, at fixed totals."""
    return book(
        offer("B", batch, lane="batch", provider="north", p99=86_400_000, **fields),
        offer("S", standard, provider="north", p99=60_000, price_max=(0, 0, standard)),
    )


def patient(hours, **fields):
    return task(complete_by=NOW + int(hours * HOUR_US), max_cost=1_000, **fields)


@given(st.lists(st.integers(0, 10**8), min_size=7, max_size=7).map(sorted), st.integers(0, 10**12))
def test_the_probability_rises_with_time_and_stays_within_the_levels(quantiles, within):
    times = BatchTimes("p", tuple(quantiles))
    assert 0 <= times.done_ppm(within) <= times.done_ppm(within + 1_000_000) <= LEVELS_PPM[-1]


def test_at_a_known_quantile_the_probability_is_its_level():
    for level, ms in zip(LEVELS_PPM, TIMES.quantiles_ms, strict=True):
        assert TIMES.done_ppm(ms * 1_000) == level
    assert TIMES.done_ppm(0) == 0
    assert TIMES.done_ppm(3 * HOUR_US) == 375_000


def test_a_batch_wins_at_its_own_price_with_the_other_lanes_behind_it():
    found = decided(patient(30), lanes())
    assert (found.outcome, found.winner.row, found.price_nano) == ("awarded", 0, 50)
    assert [bid.row for bid in found.top] == [0, 1]
    assert found.batch.done_ppm == 990_000
    assert found.batch.blended_nano == 51
    assert found.reasons.tolist() == [0, 20]


def test_it_is_rescued_at_the_latest_start_of_the_other_lanes():
    found = decided(patient(30), lanes())
    assert found.batch.rescue_at == NOW + 30 * HOUR_US - 2 * MINUTE_US - GUARD_US


def test_a_batch_costs_what_its_rescue_may_cost_too():
    assert decided(patient(5), lanes(batch=95)).batch.blended_nano == 98
    assert decided(patient(5), lanes(batch=100)).winner.row == 1


def test_a_batch_that_is_more_likely_late_than_not_is_not_begun():
    assert decided(patient(4.2), lanes()).winner.row == 0
    assert decided(patient(3.9), lanes()).winner.row == 1


def test_waiting_has_its_price():
    dear = patient(30, per_second=1)
    assert decided(dear, lanes()).winner.row == 1


@pytest.mark.parametrize(
    "wanted",
    [
        task(max_cost=1_000),
        patient(0.15),
        patient(30, max_latency=3_600_000),
        task(complete_by=NOW + 30 * HOUR_US, max_cost=49),
    ],
)
def test_without_a_deadline_time_or_money_for_a_rescue_there_is_no_batch(wanted):
    assert decided(wanted, lanes()).batch is None


def test_a_provider_whose_batches_are_not_known_cannot_win_with_one():
    assert decided(patient(30), lanes(), Inputs(closed_lanes=("batch",))).winner.row == 1


def test_a_posted_price_that_is_cheaper_than_the_batch_is_waited_for():
    step = NOW + 2 * HOUR_US
    market = book(
        offer("B", 50, lane="batch", provider="north", p99=86_400_000),
        offer("S", quotes=[quote(100, 0, step), quote(20, step, NOW + 90 * HOUR_US, sequence=2)], p99=60_000),
    )
    assert decided(patient(30), market).outcome == "held"


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.floats(0.1, 40),
    st.lists(st.integers(0, 10**8), min_size=7, max_size=7).map(sorted),
)
def test_the_record_of_a_batch_decides_the_same_again(batch, standard, hours, quantiles):
    inputs = Inputs(closed_lanes=("batch",), batches=(BatchTimes("north", tuple(quantiles)),))
    wanted, market = patient(hours), lanes(batch, standard)
    found = decided(wanted, market, inputs)
    line = record_line(AuctionIds("auc_1", wanted.id, NOW), wanted, market, inputs, found)
    again = replay(line, market, SEED)
    assert again.identical, again.differences
    if found.batch is not None:
        assert found.batch.rescue_at - NOW >= 10 * MINUTE_US
        assert found.batch.blended_nano < standard
