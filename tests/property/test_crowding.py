"""Room for forced runs: what is said to fit does fit, whenever it begins at the latest that was said."""

import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lowtide.market.deferral.crowding import Room
from lowtide.market.deferral.safety import GUARD_US
from lowtide.market.offer import Capacity
from lowtide.market.spot import Inputs, clear
from tests.market_builder import KEY, NOW, book, offer, task

SECOND = 1_000_000


def room(*concurrency: int | None, latency: int = 1_000) -> Room:
    rows = [
        offer(f"o{number}", 100, p99=latency, capacity=Capacity(places))
        for number, places in enumerate(concurrency)
    ]
    return Room(clear(task(), book(*rows), Inputs(), NOW, KEY), NOW)


def all_in_time(deadlines: list[int], start: int, places: int, service_us: int) -> bool:
    """Whether runs of all, the earliest deadline first, each in the place that is free first, end before the guard."""
    free = [start] * places
    for deadline in sorted(deadlines):
        ends = heapq.heappop(free) + service_us
        if ends > deadline - GUARD_US:
            return False
        heapq.heappush(free, ends)
    return True


@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=30),
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.integers(1, 9),
)
def test_what_need_not_start_yet_can_all_start_then_and_still_be_in_time(slacks, concurrency, seconds):
    found = room(*concurrency, latency=1_000 * seconds)
    deadlines = [NOW + slack * SECOND for slack in slacks]
    count = found.must_start(np.array(deadlines, dtype=np.int64), NOW)
    left = sorted(deadlines)[count:]
    assert 0 <= count <= len(deadlines)
    if count == 0:
        assert all_in_time(left, NOW, sum(concurrency), found.service_us)


@given(st.integers(1, 40), st.integers(1, 5))
def test_with_room_for_one_round_more_than_it_takes_none_must_start(tasks, places):
    found = room(places)
    rounds = -(-tasks // places)
    deadline = NOW + GUARD_US + (rounds + 1) * found.service_us
    assert found.must_start(np.full(tasks, deadline), NOW) == 0
    assert found.must_start(np.full(tasks + places, deadline), NOW) > 0


def test_where_an_offer_has_no_limit_nothing_crowds():
    found = room(1, None)
    assert found.places is None
    assert found.must_start(np.full(1_000, NOW), NOW) == 0


def test_requests_a_minute_limit_what_runs_at_once():
    rows = offer("o", 100, p99=10_000, capacity=Capacity(None, 30))
    assert Room(clear(task(), book(rows), Inputs(), NOW, KEY), NOW).places == 5
