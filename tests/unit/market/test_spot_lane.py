"""Spot lanes in a decision: only over a net that catches what is taken back."""

import pytest

from lowtide.market.auction import CORE
from lowtide.market.deferral.known import SPOT_RETURN
from lowtide.market.deferral.net import GUARD_US
from lowtide.market.deferral.progress import JobProgress
from lowtide.market.explain import explanation, why_not
from lowtide.market.offer import Capacity
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.replay import replay
from tests.market_builder import NOW, Result, book, decide, offer, quote, task

S, MINUTE = 1_000_000, 60_000_000
SPOT = ("spot",)


def market(**safe):
    return book(
        offer("spot", 20, lane="spot", p99=10_000),
        offer("safe", 100, p99=20_000, **safe),
        offer("other", 120, p99=30_000),
    )


def net_of(deadline: int) -> int:
    return deadline - 50 * S - GUARD_US


def told(result: Result) -> str:
    return explanation(result.task, result.book, result.inputs, result.decision, result.at, result.key)


def view(result: Result, name: str) -> str:
    (found,) = [one for one in result.views() if one.offer.id == name]
    return why_not(result.task, result.book, result.decision, found)


@pytest.mark.parametrize(("more", "winner"), [(0, "spot"), (-1, "safe")])
def test_spot_wins_while_a_safe_run_with_a_second_try_still_fits_after_it(more, winner):
    deadline = NOW + 10 * S + 50 * S + GUARD_US + more
    result = decide(task(complete_by=deadline), market(), preemptible=SPOT)
    assert result.winner == winner
    if winner == "safe":
        assert result.loss_reason("spot") == "too_late"
        assert "a spot call may be taken back" in view(result, "spot")


def test_without_a_deadline_spot_is_a_lane_as_any():
    assert decide(task(), market(), preemptible=SPOT).winner == "spot"


def test_where_no_lane_is_said_to_be_preemptible_decisions_are_what_they_were():
    result = decide(task(complete_by=NOW + 15 * S), market())
    assert (result.winner, result.decision.spot.net) == ("spot", None)


def test_where_nobody_else_can_serve_there_is_no_net_to_keep():
    only = book(offer("spot", 20, lane="spot", p99=10_000))
    assert decide(task(complete_by=NOW + 15 * S), only, preemptible=SPOT).winner == "spot"
    dear = market(circuit="open").with_rows(2, {2: offer("other", 120, p99=30_000, circuit="open")})
    assert decide(task(complete_by=NOW + 15 * S), dear, preemptible=SPOT).winner == "spot"


def test_the_winner_says_by_when_it_must_be_back_and_who_catches_the_task():
    deadline = NOW + 10 * MINUTE
    result = decide(task(complete_by=deadline), market(), preemptible=SPOT)
    assert result.decision.spot.net.return_by == net_of(deadline)
    assert "safe-provider's model" in told(result)
    assert "if the call is taken back, by 2025-11-24T16:08:40Z" in told(result)


def test_spot_does_not_win_where_the_safe_run_may_be_over_the_budget_by_then():
    deadline = NOW + 30 * MINUTE
    step = NOW + 5 * MINUTE
    for later, winner in ((300, "spot"), (900, "safe")):
        steps = [quote(100, 0, step), quote(later, step, NOW + 600 * MINUTE, sequence=2)]
        there = book(
            offer("spot", 20, lane="spot", p99=10_000),
            offer("safe", p99=20_000, quotes=steps),
        )
        assert decide(task(complete_by=deadline, max_cost=500), there, preemptible=SPOT).winner == winner


def test_a_task_that_may_not_wait_takes_its_safe_run_at_once():
    wanted = task(complete_by=NOW + 30 * MINUTE)
    assert decide(wanted, market(), preemptible=SPOT, may_wait=False).winner == "safe"


def test_a_task_is_held_until_the_latest_start_of_offers_that_nobody_takes_back():
    step, deadline = NOW + 10 * MINUTE, NOW + 60 * MINUTE
    there = book(
        offer("spot", 90, lane="spot", p99=1_000),
        offer("safe", p99=20_000, quotes=[quote(100, 0, step), quote(10, step, deadline, sequence=2)]),
    )
    plan = decide(task(complete_by=deadline), there, preemptible=SPOT).decision.deferral
    assert (plan.slot, plan.latest_start) == (step, deadline - 40 * S - GUARD_US)


def test_what_spot_took_back_waits_for_it_while_the_net_holds():
    until = NOW + 5 * S
    result = decide(task(complete_by=NOW + 60 * MINUTE), market(), preemptible=SPOT, resting={"spot": until})
    plan = result.decision.deferral
    assert (result.outcome, plan.policy, plan.slot, plan.row) == ("held", SPOT_RETURN, until, 0)
    assert until <= plan.release_at <= until + 5 * S
    assert "took it back" in told(result)
    again = decide(
        task(complete_by=NOW + 60 * MINUTE), market(), at=until, preemptible=SPOT, resting={"spot": until}
    )
    assert again.winner == "spot"


def test_what_spot_took_back_runs_elsewhere_where_waiting_costs_more_or_leaves_no_net():
    until = NOW + 60 * S
    costly = task(complete_by=NOW + 60 * MINUTE, per_second=2)
    assert decide(costly, market(), preemptible=SPOT, resting={"spot": until}).winner == "safe"
    near = task(complete_by=until + 9 * S + 50 * S + GUARD_US)
    assert decide(near, market(), preemptible=SPOT, resting={"spot": until}).winner == "safe"


def test_a_job_behind_its_line_buys_no_spot_and_says_so():
    deadline = NOW + 100 * MINUTE
    began = NOW - 100 * MINUTE
    for done, winner in ((60, "spot"), (40, "safe")):
        job = JobProgress(100, done, began)
        result = decide(task(complete_by=deadline), market(), preemptible=SPOT, job=job)
        assert result.winner == winner
    assert "the job is behind" in view(result, "spot")
    assert (
        decide(
            task(complete_by=deadline),
            market(),
            preemptible=SPOT,
            job=JobProgress(100, 50, began, left_spot=True),
        ).winner
        == "safe"
    )


def test_a_job_that_needs_many_rounds_elsewhere_leaves_spot_while_all_of_them_fit():
    narrow = market(capacity=Capacity(concurrency=2))
    deadline = NOW + 10 * MINUTE
    job = JobProgress(60, 30, NOW)
    assert (
        decide(task(complete_by=deadline), narrow, preemptible=SPOT, job=JobProgress(2, 0, NOW)).winner
        == "spot"
    )
    assert decide(task(complete_by=deadline), narrow, preemptible=SPOT, job=job).winner == "spot"
    late = decide(task(complete_by=deadline), narrow, preemptible=SPOT, job=JobProgress(60, 0, NOW))
    assert late.winner == "safe"


@pytest.mark.parametrize("job", [None, JobProgress(10, 4, NOW - 1), JobProgress(10, 0, None, left_spot=True)])
def test_a_decision_on_spot_replays_from_its_record(job):
    wanted, there = task(complete_by=NOW + 60 * MINUTE), market()
    for resting in ({}, {"spot": NOW + 5 * S}):
        result = decide(
            wanted, there, preemptible=SPOT, resting=resting, job=job, key=auction_key(bytes(32), "auc_1")
        )
        ids = AuctionIds("auc_1", "task_1", NOW)
        line = record_line(ids, wanted, there, result.inputs, result.decision)
        again = replay(line, there, bytes(32))
        assert again.identical, again.differences
        assert again.inputs == result.inputs


def test_records_without_spot_are_what_they_were():
    result = decide(task(complete_by=NOW + 60 * MINUTE), market())
    line = record_line(
        AuctionIds("auc_1", "task_1", NOW), result.task, result.book, result.inputs, result.decision
    )
    assert CORE == 2
    for name in (b'"preemptible"', b'"resting"', b'"job"'):
        assert name not in line
