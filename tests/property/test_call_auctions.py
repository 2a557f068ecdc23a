"""What must always hold of a call auction (MARKET.md 13.17), on random instances."""

import random
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market.clearing.award import awards
from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.certify import Arcs, bound, least_prices
from lowtide.market.clearing.flow import out_of_time
from lowtide.market.clearing.outcome import verify
from lowtide.market.clearing.payment import RULES, UNIFORM, merit_order, payments
from tests.clearing_builder import KEY, Wants, auction

SLOTS = 3
OFFERS = ("P", "Q", "R")


@st.composite
def rounds(draw, most_groups=4, most_count=3):
    """Groups and capacities; prices few and small, so that ties abound."""
    few = st.integers(0, 6)
    wants = [
        Wants(
            f"g{number}x",
            draw(st.integers(1, 8)),
            {
                name: draw(st.lists(few, min_size=SLOTS, max_size=SLOTS))
                for name in OFFERS
                if draw(st.booleans())
            },
            draw(st.integers(1, most_count)),
            draw(st.integers(0, SLOTS)),
            draw(st.integers(0, 2)),
        )
        for number in range(draw(st.integers(0, most_groups)))
    ]
    room = {name: draw(st.lists(st.integers(0, 2), min_size=SLOTS, max_size=SLOTS)) for name in OFFERS}
    return wants, room


def brute_force(market):
    """The greatest surplus, by trying every place for every task."""
    tasks = [group for group, count in enumerate(market.count.tolist()) for _ in range(count)]
    weight = market.weight.tolist()

    def best(index, free):
        if index == len(tasks):
            return 0
        most = best(index + 1, free)
        for pool, worth in enumerate(weight[tasks[index]]):
            if worth > 0 and free[pool]:
                left = (*free[:pool], free[pool] - 1, *free[pool + 1 :])
                most = max(most, worth + best(index + 1, left))
        return most

    return best(0, tuple(market.capacity.tolist()))


@given(rounds(most_groups=3, most_count=1))
@settings(max_examples=60, deadline=None)
def test_no_assignment_of_a_tiny_round_is_worth_more(given_round):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    assert clear_call(market, KEY).welfare_micro == brute_force(market)


@given(rounds())
def test_an_outcome_is_feasible_and_proven(given_round):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY)
    assert verify(market, cleared).optimal
    placed = awards(market, cleared, KEY)
    assert len({place.task_id for place in placed}) == len(placed) == int(cleared.units.sum())


@given(rounds(), st.integers(0, 2**32))
def test_another_order_of_tasks_offers_and_kinds_gives_the_same_answer(given_round, seed):
    wants, room = given_round
    market, shuffled = auction(wants, room, SLOTS), auction(wants, room, SLOTS, random.Random(seed))
    assert market.digest == shuffled.digest
    first, second = clear_call(market, KEY), clear_call(shuffled, KEY)
    assert awards(market, first, KEY) == awards(shuffled, second, KEY)
    assert np.array_equal(first.price, second.price)


@given(rounds())
def test_adding_an_offer_never_lowers_the_welfare(given_round):
    wants, room = given_round
    without = [replace(one, asks={name: one.asks[name] for name in one.asks if name != "R"}) for one in wants]
    fewer = auction(without, {name: room[name] for name in "PQ"}, SLOTS)
    assert clear_call(fewer, KEY).welfare_micro <= clear_call(auction(wants, room, SLOTS), KEY).welfare_micro


@given(rounds())
def test_the_greedy_answer_of_a_timeout_is_feasible_and_its_logged_gap_covers_what_it_lost(given_round):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY, solver=out_of_time)
    assert verify(market, cleared).faults == ()
    assert cleared.welfare_micro <= clear_call(market, KEY).welfare_micro <= cleared.bound_micro


@given(rounds())
def test_no_lower_price_of_any_pool_supports_the_optimum(given_round):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY)
    for pool in np.flatnonzero(cleared.price).tolist():
        cheaper = cleared.price.copy()
        cheaper[pool] -= 1
        assert bound(market, cheaper).value > cleared.bound_micro or market.capacity[pool] == 0


@given(rounds(), st.sampled_from(OFFERS), st.integers(0, SLOTS - 1))
def test_the_price_of_a_pool_is_what_one_more_place_in_it_would_add(given_round, offer, slot):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY)
    wider = {
        name: [units + (name == offer and at == slot) for at, units in enumerate(room[name])] for name in room
    }
    price = int(cleared.price[market.offers.index(offer) * SLOTS + slot])
    assert clear_call(auction(wants, wider, SLOTS), KEY).welfare_micro - cleared.welfare_micro == price


@given(rounds())
def test_an_assignment_that_loses_a_task_for_nothing_has_no_supporting_prices(given_round):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY)
    group, pool = (index.astype(np.int64) for index in np.nonzero(market.weight))
    units = np.zeros(len(group), np.int64)
    prices = least_prices(
        market.count, market.pool_count, Arcs(group, pool, market.weight[group, pool].astype(np.int64), units)
    )
    assert prices is not None
    assert (bound(market, prices).value > 0) == (cleared.welfare_micro > 0)


@given(rounds(), st.sampled_from(RULES))
def test_everyone_pays_between_the_ask_and_what_it_is_worth_to_it(given_round, rule):
    wants, room = given_round
    market = auction(wants, room, SLOTS)
    cleared = clear_call(market, KEY)
    paid = payments(market, cleared, rule)
    own = payments(market, cleared)
    ceiling = market.ceiling_nano[cleared.group, cleared.pool // market.slot_count]
    assert ((own <= paid) & (paid <= ceiling)).all()
    if rule == UNIFORM:
        assert int(paid @ cleared.units) >= int(own @ cleared.units)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=5),
)
def test_the_merit_order_leaves_no_trade_that_both_sides_want(asks, demands):
    cleared = merit_order(asks, demands)
    assert sum(cleared.sold) == sum(cleared.bought) == cleared.units
    accepted = [price for (price, _), sold in zip(asks, cleared.sold, strict=True) if sold]
    assert cleared.price == (max(accepted) if accepted else None)
    open_asks = [price for (price, units), sold in zip(asks, cleared.sold, strict=True) if sold < units]
    unmet = [worth for (worth, units), got in zip(demands, cleared.bought, strict=True) if got < units]
    assert not open_asks or not unmet or max(unmet) < min(open_asks)
