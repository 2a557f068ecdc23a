"""What arrivals to come are expected to need."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.clearing.arrivals import coming_arrivals, taken_off, usual_arrivals
from lowtide.market.clearing.plan import plan_slots


def test_arrivals_stand_at_their_slot_and_last_slot_in_parts():
    rate = np.zeros((5, 3))
    rate[1, 2], rate[2, 0] = 0.4, 3.0
    coming = coming_arrivals(rate, parts=10)
    assert {(a, d): int(coming[a, d]) for a, d in zip(*np.nonzero(coming), strict=True)} == {
        (1, 3): 4,
        (2, 2): 30,
    }


def test_who_arrives_now_is_held_already():
    rate = np.full((3, 1), 2.0)
    assert coming_arrivals(rate, parts=1).tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_a_window_that_reaches_beyond_the_plan_counts_by_its_share_within():
    rate = np.zeros((4, 8))
    rate[2, 7] = 8.0
    assert coming_arrivals(rate, parts=10)[2].tolist() == [0, 0, 0, 20]


def test_what_arrivals_will_need_is_taken_off_the_offers_by_their_capacity():
    capacity = np.array([[6, 0], [3, 0], [1, 4]])
    taken = taken_off(np.array([45, 30]), 10, capacity)
    assert taken.tolist() == [[3, 0], [2, 0], [0, 3]]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(st.integers(0, 90), min_size=3, max_size=3),
)
def test_no_more_is_taken_off_an_offer_than_it_has_and_all_that_is_needed_where_it_fits(capacity, coming):
    room = np.array(capacity, np.int64)
    taken = taken_off(np.array(coming, np.int64), 10, room)
    assert ((taken >= 0) & (taken <= room)).all()
    assert taken.sum(axis=0).tolist() == np.minimum(-(-np.array(coming) // 10), room.sum(axis=0)).tolist()


def test_a_plan_tells_a_call_auction_what_to_take_off():
    rate = np.zeros((3, 2))
    rate[1, 1] = 4.0
    capacity = np.full((2, 3), 2, np.int64)
    plan = plan_slots(
        np.array([2, 1, 9]), capacity.sum(axis=0), np.array([0, 4, 0]), coming_arrivals(rate, 10), parts=10
    )
    assert taken_off(plan.coming, 10, capacity).tolist() == [[0, 2, 0], [0, 2, 0]]


def test_arrivals_to_come_are_expected_as_they_came_at_that_time_of_day():
    came = np.array([1, 0, 5, 3, 0, 7, 9, 9, 9])
    assert usual_arrivals(came, since=0, slot=6, day=3).tolist() == [2, 0, 6]
    assert usual_arrivals(came, since=0, slot=7, day=3).tolist() == [0, 6, 6]
    assert usual_arrivals(came, since=3, slot=7, day=3).tolist() == [0, 7, 9]


def test_within_the_first_day_arrivals_are_expected_as_on_average_so_far():
    came = np.array([8, 2, 4, 99])
    assert usual_arrivals(came, since=1, slot=3, day=24).tolist() == [3.0] * 24
    assert usual_arrivals(came, since=1, slot=1, day=24).tolist() == [0.0] * 24


def test_no_more_than_a_fortnight_of_arrivals_is_remembered():
    came = np.array([100, *[1] * 14, 7])
    assert usual_arrivals(came, since=0, slot=15, day=1).tolist() == [1.0]
