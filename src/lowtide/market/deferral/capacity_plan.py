"""Waiting when only so many tasks may start in a slot: the rolling plan, made anew every slot with arrivals to come."""

from collections.abc import Callable

import numpy as np

from lowtide.market.clearing.arrivals import usual_arrivals
from lowtide.market.clearing.line import starts_now
from lowtide.market.clearing.plan import must_run_now
from lowtide.market.deferral.price_paths import Ahead
from lowtide.market.deferral.series import Floats, Ints

_DAYS_BEYOND = 2


def starts_by_plan(
    ahead: Ahead,
    slot: Ints,
    came: Ints,
    slack: int,
    capacity: Ints,
    day: int,
    advance: Callable[[int], None] = lambda slots: None,
) -> Ints:
    """The slot in which each task starts, at most `capacity[t]` in slot t; `slot` are their arrivals, rising, one slack.

    Every slot those held and those that are expected to come in the next two days are planned at the prices that `ahead`
    expects; only what the plan starts now is done, earliest deadlines first, and at least as many as must so that what is
    held can still start in time. `came[t]` counts all arrivals, from which those to come are expected; it may reach
    further back than `slot`, and nothing of it is read before its slot. `day`: slots a day. `advance` hears of each
    slot done. An overload makes tasks late; what is left at the end starts in the last slot.
    """
    slots = len(capacity)
    start = np.full(len(slot), slots - 1)
    arrivals = np.bincount(slot, minlength=slots)
    since = int(np.flatnonzero(came)[0]) if came.any() else slots
    horizon = slack + 1 + _DAYS_BEYOND * day
    held, first = np.zeros(slack + 1, np.int64), 0
    for now in range(slots):
        late, held = held[0], np.append(held[1:], arrivals[now])
        held[0] += late
        if held.any():
            places = np.pad(capacity[now : now + horizon], (0, max(0, now + horizon - slots)), "edge")
            usual = usual_arrivals(came, since, now, day)
            wanted = _wanted(ahead(now, horizon), places, held, usual)
            go = int(min(max(wanted, must_run_now(places[: slack + 1], held)), places[0], held.sum()))
            start[first : first + go] = now
            first += go
            held = held - np.clip(go - (np.cumsum(held) - held), 0, held)
        advance(1)
    return start


def _wanted(price: Floats, places: Ints, held: Ints, usual: Floats) -> int:
    """How many of the held (by slots left) the plan starts now.

    Of those expected whose last slot lies beyond the plan, the share of their window that lies within counts.
    """
    slots, slack = len(price), len(held) - 1
    within = np.minimum(1.0, np.arange(slots, 0, -1) / (slack + 1))
    coming = np.resize(usual, slots) * within
    coming[0] = 0.0
    waiting = float(held.sum())
    arrived = waiting + np.cumsum(coming)
    due = np.full(slots, waiting)
    due[: slack + 1] = np.cumsum(held)
    due[slack:] += np.cumsum(coming[: slots - slack])
    due[-1] = arrived[-1]
    found = starts_now(price, places.tolist(), arrived.tolist(), due.tolist())
    return int(np.floor(found + 0.5))
