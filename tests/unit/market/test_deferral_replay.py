"""What waiting costs, counted: by thresholds, by the clairvoyant, with posted prices, within a capacity."""

from collections import Counter
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.deferral.capacity import least_cost_within_capacity, places, starts_within_capacity
from lowtide.market.deferral.policies.k_search import competitive_ratio, k_min_thresholds
from lowtide.market.deferral.posted import with_posted
from lowtide.market.deferral.replay import clairvoyant, costs, waits
from lowtide.market.deferral.series import series_of

HOUR = 3_600_000_000
whole_prices = st.lists(st.integers(-3, 9), min_size=1, max_size=30)


def follow(prices, values, came, slack):
    """The same rule, told task by task."""
    slot = came
    while slot < came + slack and prices[slot] > values[slot][slack - (slot - came)]:
        slot += 1
    return slot


@given(st.data(), whole_prices, st.integers(0, 5))
def test_costs_and_waits_are_those_of_each_task_followed_by_itself(data, prices, slack):
    shape = st.lists(st.integers(-3, 9), min_size=slack + 1, max_size=slack + 1)
    values = data.draw(st.lists(shape, min_size=len(prices), max_size=len(prices)))
    paid = costs(np.array(prices, float), np.array(values, float))[:, slack]
    waited = waits(np.array(prices, float), np.array(values, float))[:, slack]
    for came in range(len(prices)):
        if came + slack < len(prices):
            start = follow(prices, values, came, slack)
            assert (paid[came], waited[came]) == (prices[start], start - came)
        else:
            assert np.isnan(paid[came])
            assert np.isnan(waited[came])


@given(whole_prices, st.integers(0, 8))
def test_the_clairvoyant_is_the_least_price_of_the_window(prices, slack):
    best = clairvoyant(np.array(prices, float), slack)
    for came in range(len(prices)):
        window = prices[came : came + slack + 1]
        assert best[came] == min(window) if came + slack < len(prices) else np.isnan(best[came])


@given(whole_prices, st.integers(1, 6))
def test_with_every_price_of_the_window_posted_nobody_does_better(prices, slack):
    prices = np.array(prices, float)
    never = np.full((len(prices), slack + 1), np.inf)
    paid = costs(prices, with_posted(prices, never, slack))[:, slack]
    np.testing.assert_array_equal(paid, clairvoyant(prices, slack))


def test_beyond_the_posted_slots_the_value_at_the_last_of_them_counts():
    prices = np.array([5.0, 4.0, 6.0, 1.0, 1.0])
    values = np.array(
        [[np.inf, 9.0, 8.0], [np.inf, 2.0, 3.0], [np.inf, 7.0, 7.0], [np.inf, 1.0, 1.0], [np.inf] * 3]
    )
    assert with_posted(prices, values, 1)[0].tolist() == [np.inf, 4.0, 2.0]
    assert with_posted(prices, values, 0) is values


@given(
    st.lists(st.integers(0, 3), min_size=6, max_size=14),
    st.integers(1, 2),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_within_a_capacity_no_slot_starts_more_and_none_before_it_came(arrivals, capacity, slack, seed):
    arrivals = [*arrivals, *([0] * (sum(arrivals) + slack + 1))]
    slot = np.repeat(np.arange(len(arrivals)), arrivals)
    prices, values = random_market(len(arrivals), slack, seed)
    start = starts_within_capacity(prices, values, slot, places(capacity, len(prices)))
    assert (np.bincount(start, minlength=1) <= capacity).all()
    assert (start >= slot).all()
    assert (np.diff(start) >= 0).all()


@given(st.integers(1, 3), st.integers(0, 5), st.integers(0, 99), st.data())
def test_within_a_capacity_a_burst_that_fits_is_never_late(capacity, slack, seed, data):
    burst = data.draw(st.integers(0, capacity * (slack + 1)))
    prices, values = random_market(slack + 2, slack, seed)
    start = starts_within_capacity(
        prices, values, np.zeros(burst, dtype=np.int64), places(capacity, len(prices))
    )
    assert (start <= slack).all()


@given(st.lists(st.integers(-2, 9), min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 2), st.data())
def test_the_least_cost_within_a_capacity_is_that_of_every_way_tried(prices, slack, capacity, data):
    slot = sorted(data.draw(st.lists(st.integers(0, len(prices) - 1), max_size=5)))
    ways = product(*(range(came, min(came + slack + 1, len(prices))) for came in slot))
    fit = [way for way in ways if max(Counter(way).values(), default=0) <= capacity]
    best = min((sum(prices[at] for at in way) for way in fit), default=None)
    found = least_cost_within_capacity(
        np.array(prices, float), np.array(slot, dtype=np.int64), slack, places(capacity, len(prices))
    )
    assert found == best


def random_market(slots, slack, seed):
    """Prices, and values that fall with the slots left, as waiting longer can only be worth more."""
    random = np.random.default_rng(seed)
    values = -np.sort(-random.random((slots, slack + 1)), axis=1)
    values[:, 0] = np.inf
    return random.random(slots), values


def test_with_room_for_all_a_capacity_changes_nothing():
    prices, values = random_market(60, 4, seed=3)
    slot = np.arange(50)
    start = starts_within_capacity(prices, values, slot, places(60, 60))
    np.testing.assert_array_equal(start - slot, waits(prices, values)[slot, 4])


@pytest.mark.parametrize(("low", "high", "k"), [(1, 4, 1), (1, 4, 3), (2, 50, 2)])
def test_k_search_keeps_its_competitive_ratio_on_every_sequence(low, high, k):
    ratio, thresholds = competitive_ratio(low, high, k), k_min_thresholds(low, high, k)
    assert thresholds == sorted(thresholds, reverse=True)
    assert ratio == pytest.approx((high / low) ** 0.5) if k == 1 else ratio < (high / low) ** 0.5 * 2
    grid = [low, *(threshold + 1e-9 for threshold in thresholds), high]
    # The worst prices are those just above a threshold, falling, then the highest until the end.
    for falling in combinations_with_replacement(sorted(grid, reverse=True), 4):
        offered = [price for price in falling for _ in range(k)] + [high] * k
        bought: list[float] = []
        for place, price in enumerate(offered):
            must = len(offered) - place <= k - len(bought)
            if len(bought) < k and (must or price <= thresholds[len(bought)]):
                bought.append(price)
        assert sum(bought) <= ratio * sum(sorted(offered)[:k]) * (1 + 1e-6)


def test_the_clock_of_a_series_is_the_zones_through_its_changes():
    start = 1_711_839_600 * 1_000_000  # 2024-03-31T00:00 in Brussels, an hour of which is left out that night
    series = series_of(np.ones(30), start - HOUR, HOUR, "Europe/Brussels")
    assert series.clock[:5].tolist() == [23, 0, 1, 3, 4]
    assert series.weekday[[0, 1, 24]].tolist() == [5, 6, 0]


def test_a_slot_that_does_not_divide_a_day_is_refused():
    with pytest.raises(ValueError, match="divide a day"):
        series_of(np.ones(10), 0, 7 * HOUR)
