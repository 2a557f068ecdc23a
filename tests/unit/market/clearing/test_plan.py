"""The rolling plan: which held tasks run now on a capacity that others will need too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.clearing.flow import min_cost_flow
from lowtide.market.clearing.plan import must_run_now, plan_slots
from lowtide.values.errors import BadValue


def ints(*values):
    return np.array(values, np.int64)


def coming(slots, *arrivals):
    """Expected arrivals: (slot, last slot, units)."""
    ahead = np.zeros((slots, slots), np.int64)
    for arrival, last, units in arrivals:
        ahead[arrival, last] += units
    return ahead


def paid(plan, price):
    return int(plan.held @ price)


def test_held_tasks_wait_for_the_cheapest_slot_before_their_last():
    plan = plan_slots(ints(5, 3, 1, 0), ints(9, 9, 9, 9), ints(0, 2, 4, 0))
    assert plan.held.tolist() == [0, 2, 4, 0]
    assert plan.run_now.tolist() == [0, 0, 0, 0]


def test_where_the_cheap_slot_is_full_the_rest_takes_the_next_best_and_its_scarcity_is_told():
    plan = plan_slots(ints(5, 3, 1), ints(9, 9, 2), ints(0, 0, 4))
    assert plan.held.tolist() == [0, 2, 2]
    assert plan.scarcity_nano.tolist() == [0, 0, 2]


def test_those_with_the_least_slack_start_first():
    plan = plan_slots(ints(1, 2, 2), ints(3, 9, 9), ints(0, 2, 5))
    assert plan.run_now.tolist() == [0, 2, 1]


def test_a_blind_plan_waits_into_a_slot_that_arrivals_will_need_and_a_seeing_one_does_not():
    price, capacity, held = ints(2, 1, 9), ints(4, 4, 4), ints(0, 4, 0)
    blind = plan_slots(price, capacity, held)
    seeing = plan_slots(price, capacity, held, coming(3, (1, 2, 4)))
    assert blind.run_now.sum() == 0
    assert seeing.run_now.sum() == 4
    assert seeing.coming.tolist() == [0, 4, 0]


def test_expected_arrivals_may_be_parts_of_a_task():
    price, capacity, held = ints(2, 1, 9), ints(4, 4, 4), ints(0, 4, 0)
    plan = plan_slots(price, capacity, held, coming(3, (1, 2, 15)), parts=10)
    assert (plan.held.tolist(), plan.coming.tolist()) == ([15, 25, 0], [0, 15, 0])
    assert plan.run_now.sum() == 2


def test_at_equal_prices_the_sooner_slot_is_taken_because_it_keeps_the_later_ones_open():
    plan = plan_slots(ints(3, 3, 3), ints(2, 2, 2), ints(0, 0, 3))
    assert plan.held.tolist() == [2, 1, 0]


def test_what_fits_nowhere_is_told_and_everything_else_still_runs():
    plan = plan_slots(ints(1, 100), ints(1, 1), ints(3, 1))
    assert (plan.short, plan.run_now.tolist(), plan.held.tolist()) == (2, [1, 0], [1, 1])
    assert plan.scarcity_nano.max() <= 99


def test_prices_may_be_negative():
    plan = plan_slots(ints(4, -7, 2), ints(5, 5, 5), ints(0, 0, 3))
    assert plan.held.tolist() == [0, 3, 0]


def test_a_plan_over_different_slots_is_refused():
    with pytest.raises(BadValue) as refusal:
        plan_slots(ints(1, 2), ints(1), ints(1, 1))
    assert refusal.value.code == "plan_shape"


def test_prices_that_would_overflow_the_solver_are_refused():
    with pytest.raises(BadValue) as refusal:
        plan_slots(ints(0, 2**58), ints(1, 1), ints(1, 1))
    assert refusal.value.code == "plan_too_dear"


def test_dear_prices_that_leave_no_room_for_ties_are_still_planned():
    plan = plan_slots(ints(2**54, 0), ints(9, 9), ints(0, 2))
    assert plan.held.tolist() == [0, 2]


def test_what_must_run_now_is_what_later_slots_cannot_carry():
    assert must_run_now(ints(9, 2, 2), ints(1, 2, 1)) == 1
    assert must_run_now(ints(9, 2, 2), ints(0, 3, 2)) == 1
    assert must_run_now(ints(9, 2, 2), ints(0, 0, 0)) == 0


SLOTS = 4
FEW = st.lists(st.integers(0, 3), min_size=SLOTS, max_size=SLOTS).map(
    lambda values: np.array(values, np.int64)
)
PRICES = st.lists(st.integers(-4, 9), min_size=SLOTS, max_size=SLOTS).map(
    lambda values: np.array(values, np.int64)
)


def cheapest_first(price, capacity, held):
    """The optimum without a solver: places cheapest first, each kept if earliest deadline first still fits all kept."""
    kept, room = [0] * SLOTS, np.cumsum(held[::-1])[::-1]
    for slot in np.argsort(price, kind="stable").tolist():
        for _ in range(int(capacity[slot])):
            kept[slot] += 1
            # Kept places from a slot on can only go to tasks that may still run there.
            if any(sum(kept[later:]) > room[later] for later in range(SLOTS)):
                kept[slot] -= 1
    return kept


@given(PRICES, FEW, FEW)
def test_no_plan_of_the_held_is_cheaper_or_runs_more(price, capacity, held):
    plan = plan_slots(price, capacity, held)
    kept = cheapest_first(price, capacity, held)
    assert int(plan.held.sum()) == sum(kept) == int(held.sum()) - plan.short
    assert paid(plan, price) == int(np.array(kept) @ price)
    assert (plan.held <= capacity).all()
    assert (plan.run_now <= held).all()


@given(PRICES, FEW, FEW, st.integers(0, SLOTS - 1))
def test_scarcity_is_what_one_more_place_would_save(price, capacity, held, slot):
    plan = plan_slots(price, capacity, held)
    if plan.short:
        return
    wider = capacity.copy()
    wider[slot] += 1
    assert paid(plan, price) - paid(plan_slots(price, wider, held), price) == plan.scarcity_nano[slot]


@given(PRICES, FEW, FEW)
def test_running_what_the_plan_says_leaves_the_rest_feasible(price, capacity, held):
    plan = plan_slots(price, capacity, held)
    if plan.short:
        return
    left = held - plan.run_now
    assert left[0] == 0
    assert plan_slots(price[1:], capacity[1:], left[1:]).short == 0
    assert plan.run_now.sum() >= must_run_now(capacity, held)


def test_the_solver_can_be_given():
    seen = []

    def watched(network):
        seen.append(len(network.group))
        return min_cost_flow(network)

    plan_slots(ints(1, 2), ints(1, 1), ints(1, 1), solver=watched)
    assert seen == [3]
