"""The progress rule of a job of many calls."""

import pytest

from lowtide.market.deferral.progress import JobProgress, Pace, leaves_spot, needed_us, return_by

S = 1_000_000
PACE = Pace(call_us=10 * S, retry_us=10 * S)
END = 1_000 * S


def job(done: int, *, began: int | None = 0, left_spot: bool = False, total: int = 100) -> JobProgress:
    return JobProgress(total, done, began, left_spot)


@pytest.mark.parametrize(("done", "leaves"), [(49, True), (50, False), (51, False)])
def test_a_job_leaves_spot_when_less_of_it_is_done_than_of_its_window_has_passed(done, leaves):
    assert leaves_spot(job(done), PACE, END, 510 * S) is leaves


def test_calls_on_their_way_show_no_progress_so_a_job_begins_with_a_calls_time_of_credit():
    assert not leaves_spot(job(0), PACE, END, 10 * S)
    assert leaves_spot(job(0), PACE, END, 10 * S + 1)


@pytest.mark.parametrize(("done", "leaves"), [(51, True), (52, False)])
def test_a_job_that_has_left_returns_only_when_it_is_ahead_by_two_changeovers(done, leaves):
    assert leaves_spot(job(done, left_spot=True), PACE, END, 510 * S) is leaves


def test_a_job_of_which_nothing_has_begun_or_nothing_is_left_is_never_behind():
    assert not leaves_spot(job(0, began=None), PACE, END, END)
    assert not leaves_spot(job(100), PACE, END, END)


@pytest.mark.parametrize(
    ("at_once", "needed"), [(None, 20), (1, 1_010), (10, 110), (30, 50), (100, 20), (0, 1_010)]
)
def test_what_is_left_takes_as_many_rounds_as_places_allow_and_a_second_try(at_once, needed):
    assert needed_us(100, Pace(10 * S, 10 * S, at_once)) == needed * S
    assert needed_us(0, Pace(10 * S, 10 * S, at_once)) == 0


def test_the_net_of_a_job_comes_before_that_of_its_last_call():
    narrow = Pace(10 * S, 10 * S, 10)
    assert return_by(job(0), narrow, END, 0) == END - 110 * S
    assert return_by(job(95), narrow, END, 0) == END - 20 * S
    assert return_by(JobProgress(1, 0), PACE, END, 0) == END - 20 * S
