"""Waiting when only so many tasks may start in a slot: earliest deadlines first, forced in time, thresholds else."""

from fractions import Fraction

import numpy as np

from lowtide.market.deferral.series import Floats, Ints


def places(capacity: int | Fraction, slots: int) -> Ints:
    """How many may start in each slot when `capacity` do on average: with 3/2 one and two in turn."""
    most = Fraction(capacity)
    reached = np.arange(slots + 1, dtype=np.int64) * most.numerator // most.denominator
    return np.diff(reached)


def starts_within_capacity(prices: Floats, values: Floats, slot: Ints, capacity: Ints) -> Ints:
    """The slot in which each task starts; `slot` are their arrivals, rising, all with the slack of `values`.

    In slot t start, earliest deadlines first and at most `capacity[t]`: those whose price is at or under their
    continuation value, and at least as many as must so that what is waiting can still start in time. Arrivals to come
    are not reckoned with, so an overload makes tasks late (`start > slot + slack`); what is left at the trace's end
    starts in its last slot.
    """
    slots, slack = len(prices), values.shape[1] - 1
    came = np.bincount(slot, minlength=slots)
    waiting = np.zeros(slots, dtype=np.int64)
    start = np.full(len(slot), slots - 1)
    reached = np.concatenate(([0], np.cumsum(capacity)))
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
        later = reached[np.minimum(now + 1 + left, slots)] - reached[now + 1]
        due = int((np.cumsum(line) - later).max())
        go = min(int(capacity[now]), max(willing, due))
        start[first : first + go] = now
        first += go
        while go:
            some = min(go, int(waiting[oldest]))
            waiting[oldest] -= some
            go -= some
            oldest += waiting[oldest] == 0 and oldest < now
    return start


def least_cost_within_capacity(prices: Floats, slot: Ints, slack: int, capacity: Ints) -> float | None:
    """The clairvoyant's cost of tasks that weigh alike, at most `capacity[t]` starts in slot t; None if not all can start.

    Exact without a solver: tasks and places in slots form a transversal matroid, so places are taken cheapest first,
    each kept if all that are kept can still be matched to tasks. A place that fails closes off all that its search
    reached: their tasks are matched for good.
    """
    plan = _Plan(np.bincount(slot, minlength=len(prices)).tolist(), slack)
    cost, matched = 0.0, 0
    for place in np.argsort(prices, kind="stable").tolist():
        for _ in range(int(capacity[place])):
            if matched == len(slot) or not plan.take(place):
                break
            cost += float(prices[place])
            matched += 1
    return cost if matched == len(slot) else None


class _Plan:
    """Which arrivals the kept places serve: `served[a][p − a]` tasks that came in slot a start in slot p."""

    def __init__(self, came: list[int], slack: int) -> None:
        self._free = came
        self._slack = slack
        self._served: dict[int, dict[int, int]] = {}
        self._open = [count > 0 for count in came]

    def take(self, place: int) -> bool:
        """Keep one more place in this slot, moving others' tasks about; False if no task is left for it."""
        reached_by: dict[int, tuple[int, int]] = {}
        seen: set[int] = set()
        line = [place]
        for at in line:
            for arrival in range(max(0, at - self._slack), at + 1):
                if not self._open[arrival] or arrival in seen:
                    continue
                seen.add(arrival)
                if self._free[arrival]:
                    self._free[arrival] -= 1
                    self._move(arrival, at, place, reached_by)
                    return True
                for other in self._served.get(arrival, ()):
                    if other != place and other not in reached_by:
                        reached_by[other] = (at, arrival)
                        line.append(other)
        for arrival in seen:
            self._open[arrival] = False
        return False

    def _move(self, arrival: int, at: int, place: int, reached_by: dict[int, tuple[int, int]]) -> None:
        """The free task takes the place `at`; whoever had it goes to the place from which `at` was reached, and so on."""
        self._add(arrival, at, 1)
        while at != place:
            before, mover = reached_by[at]
            self._add(mover, at, -1)
            self._add(mover, before, 1)
            at = before

    def _add(self, arrival: int, place: int, change: int) -> None:
        served = self._served.setdefault(arrival, {})
        served[place] = served.get(place, 0) + change
        if not served[place]:
            del served[place]
