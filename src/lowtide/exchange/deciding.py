"""What a decision of now rests on besides task and book, and what is set aside for what it decides."""

from dataclasses import replace

from lowtide.exchange.award import Candidate
from lowtide.exchange.live import Asked
from lowtide.exchange.market import Market
from lowtide.exchange.task_past import NO_PAST, TaskPast
from lowtide.market.auction import AWARDED, HELD, QUEUED, Decision
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.deferral.safety import worst_by_history
from lowtide.market.spot import Inputs
from lowtide.market.task import Task

CLOSED_LANES = ("batch",)
"""Lanes that no wire calls yet."""
TRIES = 12
"""How often a decision is taken again because the winner turned out to be full."""


def inputs_for(
    market: Market,
    task: Task,
    refused: tuple[int, ...] = (),
    asked: Asked | None = None,
    past: TaskPast = NO_PAST,
) -> Inputs:
    """What a decision of now rests on besides task and book; where nobody was asked, the standing quotes hold.

    `past` is what the task went through. That a lane may be taken back is said where the book has such offers.
    """
    now, complete_by = market.now(), task.constraints.complete_by
    on_spot = complete_by is not None and bool(market.keeper.book.on_lanes(PREEMPTIBLE).any())
    return Inputs(
        market.rules.rule,
        refused,
        market.task_types.reference_cost(task.type),
        live=() if asked is None else asked.live,
        closes_at=None if asked is None else asked.closes_at,
        closed_lanes=CLOSED_LANES,
        batches=() if complete_by is None else market.batch_times.now(now),
        forecasts=() if complete_by is None else market.forecasts.uses(market.keeper.book, complete_by, now),
        preemptible=PREEMPTIBLE if on_spot else (),
        resting=past.resting if on_spot else (),
        job=past.job if on_spot else None,
    )


def with_usual_output(market: Market, task: Task) -> Task:
    """The task with its type's usual output as known now."""
    return replace(task, usual_output=market.task_types.usual_output(task.type))


def authorization(task: Task, decision: Decision, ladder: tuple[Candidate, ...]) -> int:
    """Worst case of what will be called; for what waits or lies in a batch that of its rescue, or its whole budget."""
    if decision.outcome == AWARDED and decision.batch is None:
        return ladder[0].most_nano
    if decision.batch is not None:
        rescue = task.constraints.max_cost_nano or max(bid.worst_nano for bid in decision.top)
        return max(ladder[0].most_nano, rescue)
    if decision.outcome in (HELD, QUEUED):
        if task.constraints.max_cost_nano is not None:
            return task.constraints.max_cost_nano
        return _rescue_worst(decision)
    return 0


def _rescue_worst(decision: Decision) -> int:
    """Worst case of a rescue without a budget: of the best bid now, or where prices are forecast by their history."""
    worst, plan = decision.top[0].worst_nano if decision.top else 0, decision.deferral
    if plan is None or plan.forecast is None:
        return worst
    return max(worst, worst_by_history(decision.spot.book, decision.spot, plan.row))
