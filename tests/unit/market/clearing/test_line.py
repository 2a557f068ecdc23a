"""What a line of tasks starts now, beside the plan that a solver makes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.clearing.line import starts_now
from lowtide.market.clearing.plan import plan_slots

SLOTS, SLACK, PARTS = 7, 3, 10


@given(
    st.lists(st.integers(-4, 9), min_size=SLOTS, max_size=SLOTS),
    st.lists(st.integers(0, 3), min_size=SLOTS, max_size=SLOTS),
    st.lists(st.integers(0, 3), min_size=SLACK + 1, max_size=SLACK + 1),
    st.lists(st.integers(0, 25), min_size=SLOTS, max_size=SLOTS),
)
def test_it_starts_what_the_solvers_plan_starts(price, capacity, waiting, tenths):
    held = np.array([*waiting, *[0] * (SLOTS - SLACK - 1)], np.int64)
    coming = np.zeros((SLOTS, SLOTS), np.int64)
    for slot in range(1, SLOTS):
        coming[slot, min(slot + SLACK, SLOTS - 1)] = tenths[slot]
    plan = plan_slots(np.array(price), np.array(capacity), held, coming, parts=PARTS)
    arrived = held.sum() + np.cumsum(coming.sum(axis=1)) / PARTS
    due = np.cumsum(held) + np.cumsum(coming.sum(axis=0)) / PARTS
    found = starts_now(np.array(price, float), capacity, arrived.tolist(), due.tolist())
    assert found == pytest.approx(plan.held[0] / PARTS)


def test_a_cheap_slot_ahead_is_waited_for_as_far_as_arrivals_leave_room():
    price = np.array([2.0, 1.0, 9.0])
    assert starts_now(price, [2, 2, 2], [2, 2, 2], [0, 2, 2]) == 0
    # Two and a half more come then, due by the third slot, where it is dear.
    assert starts_now(price, [2, 2, 2], [2, 4.5, 4.5], [0, 2, 4.5]) == 2


def test_at_equal_prices_it_starts_now():
    assert starts_now(np.array([3.0, 3.0]), [1, 5], [2, 2], [0, 2]) == 1
