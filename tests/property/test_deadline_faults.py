"""A slice of the weeks under faults; `make soak` runs ten thousand (tests/soak/test_deadline_faults.py)."""

from collections import Counter

from tests.week import misses


def test_12_no_deadline_is_missed_by_holding_in_two_hundred_weeks_of_faults():
    counts, missed = Counter(), []
    for seed in range(200):
        told, found = misses(seed)
        counts += told
        missed += found
    assert not missed
    # The weeks must be such that holding happens, and that most of what is held is judged.
    assert counts["held"] > 100
    assert counts["held_by_forecast"] > 20
    assert counts["held_met"] > 0.95 * counts["held"]


def test_12_a_week_is_the_same_each_time_it_is_drawn():
    assert misses(7) == misses(7)
