"""The rolling plan of a backtest: what it may know, what it keeps to, how near the optimum it comes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.deferral.backtest import PLAN, Case, Tasks, follow, one_a_slot, plan_reads, row_of
from lowtide.market.deferral.capacity import least_cost_within_capacity, places
from lowtide.market.deferral.capacity_plan import starts_by_plan
from lowtide.market.deferral.clock_path import ClockPath
from lowtide.market.deferral.price_paths import PricePaths
from lowtide.market.deferral.series import Series, series_of

HOUR = 3_600_000_000
DAY = 24


def wavy(days: int, seed: int = 3) -> np.ndarray:
    """Prices with a daily wave and noise that lasts."""
    random = np.random.default_rng(seed)
    noise = np.zeros(days * DAY)
    for slot in range(1, len(noise)):
        noise[slot] = 0.8 * noise[slot - 1] + random.normal(0, 5)
    return 40 + 15 * np.sin(np.arange(len(noise)) * np.pi / 12) + noise


def paths(series: Series) -> PricePaths:
    found = PricePaths(series)
    for track in follow(series, [PLAN], [6]):
        found.carry_on(track)
    return found


@pytest.fixture(scope="module")
def month() -> tuple[Series, PricePaths]:
    series = series_of(wavy(40), 0, HOUR)
    return series, paths(series)


def exact(prices):
    """Prices known to the end, and none after it."""
    return lambda slot, slots: np.pad(
        prices[slot : slot + slots], (0, max(0, slot + slots - len(prices))), "edge"
    )


@given(
    st.lists(st.integers(0, 4), min_size=6, max_size=14),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_no_slot_starts_more_than_its_places_none_before_it_came_and_all_in_order(
    arrivals, halves, slack, seed
):
    arrivals = [*arrivals, *([0] * (2 * sum(arrivals) + slack + 2))]
    slot = np.repeat(np.arange(len(arrivals)), arrivals)
    prices = np.random.default_rng(seed).random(len(arrivals))
    room = places(Fraction(halves, 2), len(arrivals))
    start = starts_by_plan(exact(prices), slot, np.array(arrivals), slack, room, 4)
    assert (np.bincount(start, minlength=len(room)) <= room).all()
    assert (start >= slot).all()
    assert (np.diff(start) >= 0).all()


@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 99), st.data())
def test_a_burst_that_fits_is_never_late_and_costs_the_least_where_prices_are_known(
    capacity, slack, seed, data
):
    burst = data.draw(st.integers(1, capacity * (slack + 1)))
    prices = np.random.default_rng(seed).random(slack + 9)
    slot, room = np.zeros(burst, np.int64), places(capacity, len(prices))
    nothing_expected = np.zeros(len(prices), np.int64)
    start = starts_by_plan(exact(prices), slot, nothing_expected, slack, room, 4)
    assert (start <= slack).all()
    assert prices[start].sum() == pytest.approx(least_cost_within_capacity(prices, slot, slack, room))


@pytest.mark.parametrize(("load", "posted", "most"), [("1.5", 24, 1.04), ("2.5", 24, 1.02), ("1.5", 0, 1.1)])
def test_it_comes_near_the_optimum_and_nearer_than_running_at_once(month, load, posted, most):
    series, expected = month
    case = Case.of("t", series, one_a_slot(series), 24, Fraction(load))
    row = row_of(case, PLAN, case.planned(expected.ahead(posted)))
    now = row_of(case, "run_now", case.starts(np.full((len(series), 25), np.inf)))
    assert 1 <= row.vs_clairvoyant < most < now.vs_clairvoyant
    assert row.misses == 0


def test_a_plan_that_expects_arrivals_does_better_than_one_that_does_not(month):
    series, expected = month
    case = Case.of("t", series, one_a_slot(series), 24, Fraction("1.1"))
    room, blind = places(Fraction("1.1"), len(series)), np.zeros(len(series), np.int64)
    seeing = case.planned(expected.ahead(24))
    start = starts_by_plan(expected.ahead(24), case.slot, blind, 24, room, DAY)
    assert series.prices[seeing].sum() < 0.99 * series.prices[start].sum()


@pytest.mark.parametrize("posted", [0, 5])
def test_no_start_depends_on_a_price_that_was_not_known_then(month, posted):
    known = 35 * DAY + 7
    series, expected = month
    prices = series.prices.copy()
    prices[known:] = np.random.default_rng(1).normal(0, 900, len(prices) - known)
    changed = series_of(prices, 0, HOUR)
    before, after = (
        case.planned(ahead.ahead(posted))
        for one, ahead in ((series, expected), (changed, paths(changed)))
        for case in [Case.of("t", one, one_a_slot(one), 12, 2)]
    )
    decided = known - posted
    np.testing.assert_array_equal(before[before < decided], after[after < decided])
    assert (before != after).any()


def test_no_start_depends_on_an_arrival_to_come(month):
    series, expected = month
    cut = 35 * DAY
    tasks = np.repeat(np.arange(len(series)), 2)
    more = np.sort(np.concatenate((tasks, np.arange(cut, len(series)))))
    before, after = (
        Case.of("t", series, Tasks(slot, np.ones(len(slot))), 12, 4).planned(expected.ahead(24))
        for slot in (tasks, more)
    )
    np.testing.assert_array_equal(before[before < cut], after[after < cut])


def test_posted_prices_are_read_as_they_are_and_the_path_beyond_begins_at_the_last(month):
    series, expected = month
    slot = 30 * DAY
    found = expected.ahead(6)(slot, 12)
    np.testing.assert_array_equal(found[:7], series.prices[slot : slot + 7])
    np.testing.assert_array_equal(found[6:], expected.ahead()(slot + 6, 6))
    np.testing.assert_array_equal(expected.ahead(24)(slot, 12), series.prices[slot : slot + 12])
    assert len(expected.ahead(24)(len(series) - 3, 60)) == 60


def test_slots_longer_than_an_hour_are_planned_by_the_clock_alone():
    series = series_of(wavy(80)[::2], 0, 2 * HOUR)
    assert plan_reads(series) == ()
    expected = paths(series)
    clock = ClockPath(series.prices, series.clock, 12)
    np.testing.assert_allclose(expected.ahead()(500, 20), clock(500, 20))
    case = Case.of("t", series, one_a_slot(series), 12, 2)
    assert row_of(case, PLAN, case.planned(expected.ahead(12))).vs_clairvoyant < 1.05


def test_the_clock_learns_a_days_shape_and_before_any_history_expects_the_price_to_stay():
    prices = np.tile(np.arange(1.0, 25.0), 9)
    clock = np.arange(len(prices)) % DAY
    path = ClockPath(prices, clock, DAY)
    np.testing.assert_allclose(path(8 * DAY, 24), prices[:DAY])
    np.testing.assert_allclose(path(5, 4), prices[5])


def test_a_fraction_of_places_is_whole_places_in_turn():
    assert places(Fraction(3, 2), 6).tolist() == [1, 2, 1, 2, 1, 2]
    assert places(Fraction("0.4"), 5).sum() == 2
    assert places(2, 3).tolist() == [2, 2, 2]


def test_a_plan_without_a_capacity_is_refused(month):
    series, expected = month
    with pytest.raises(ValueError, match="needs a capacity"):
        Case.of("t", series, one_a_slot(series), 2).planned(expected.ahead())
