"""Waiting when only so many tasks may start in a slot: earliest deadlines first, forced in time, thresholds else."""

import numpy as np

from lowtide.market.deferral.series import Floats, Ints


def starts_within_capacity(prices: Floats, values: Floats, slot: Ints, capacity: int) -> Ints:
    """The slot in which each task starts; `slot` are their arrivals, rising, all with the slack of `values`.

    In a slot start, earliest deadlines first and at most `capacity`: those whose price is at or under their
    continuation value, and at least as many as must so that what is waiting can still start in time. Arrivals to come
    are not reckoned with, so an overload makes tasks late (`start > slot + slack`); what is left at the trace's end
    starts in its last slot.
    """
    slots, slack = len(prices), values.shape[1] - 1
    came = np.bincount(slot, minlength=slots)
    waiting = np.zeros(slots, dtype=np.int64)
    start = np.full(len(slot), slots - 1)
    first, oldest = 0, 0
    for now in range(slots):
        waiting[now] = came[now]
        while oldest < now and waiting[oldest] == 0:
            oldest += 1
        line = waiting[oldest : now + 1]
        if not line.any():
            continue
        left = np.maximum(slack - now + np.arange(oldest, now + 1), 0)
        willing = int(line[prices[now] <= values[now, left]].sum())
        due = int((np.cumsum(line) - capacity * left).max())
        go = min(capacity, max(willing, due))
        start[first : first + go] = now
        first += go
        while go:
            some = min(go, int(waiting[oldest]))
            waiting[oldest] -= some
            go -= some
            oldest += waiting[oldest] == 0 and oldest < now
    return start
