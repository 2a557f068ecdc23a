"""Arrivals to come: what they are expected to need of the capacity that held tasks would like."""

import numpy as np
from numpy.typing import NDArray

from lowtide.market.clearing.arrays import Ints

USUAL_DAYS = 14


def usual_arrivals(came: Ints, since: int, slot: int, day: int) -> NDArray[np.float64]:
    """Arrivals expected in each of the `day` slots from `slot` on, by those before it alone.

    `came[slot, …]` are arrivals, seen since the slot `since`; the mean at that time of day over the last 14 days, or as
    many whole days as there are. Within the first day the mean of what came so far; nothing where nothing was seen.
    """
    days = min((slot - since) // day, USUAL_DAYS)
    kinds = came.shape[1:]
    if days > 0:
        found: NDArray[np.float64] = came[slot - days * day : slot].reshape(days, day, *kinds).mean(axis=0)
        return found
    if slot <= since:
        return np.zeros((day, *kinds))
    return np.broadcast_to(came[since:slot].mean(axis=0), (day, *kinds))


def coming_arrivals(rate: NDArray[np.float64], parts: int) -> Ints:
    """Expected arrivals [slot of arrival, last slot] for `plan_slots`, in parts of a task, over the slots of `rate`.

    `rate[a, s]` is the number expected in slot a with s slots of slack. Nothing is expected in slot 0: who arrives now
    is held already. Of those whose last slot lies beyond the plan, the share of their window that lies within counts,
    due by its end: counting them whole would crowd the end of the plan, leaving them out would hide them.
    """
    slots, slacks = rate.shape
    coming = np.zeros((slots, slots), np.int64)
    arrival = np.arange(1, slots)
    for slack in range(slacks):
        within = np.minimum(slots - arrival, slack + 1) / (slack + 1)
        units = np.rint(rate[1:, slack] * within * parts).astype(np.int64)
        np.add.at(coming, (arrival, np.minimum(arrival + slack, slots - 1)), units)
    return coming


def taken_off(coming: Ints, parts: int, capacity: Ints) -> Ints:
    """What a plan gives to arrivals to come, as request slots by pool [O, S]: `Pools.forced` of a call auction.

    `coming` is `Plan.coming`, by slot in parts; each slot's need is rounded up and shared by capacity, largest
    remainders first.
    """
    total = capacity.sum(axis=0)
    need = np.minimum(-(-coming // parts), total)
    exact = need * capacity
    whole = exact // np.maximum(total, 1)
    rest = exact - whole * total
    rank = np.argsort(np.argsort(-rest, axis=0, kind="stable"), axis=0, kind="stable")
    taken: Ints = whole + (rank < need - whole.sum(axis=0))
    return taken
