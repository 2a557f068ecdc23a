"""Tasks in one line, first come first due: what the cheapest plan starts now, without a solver."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def starts_now(
    price: Floats, capacity: Sequence[float], arrived: Sequence[float], due: Sequence[float]
) -> float:
    """How many the cheapest plan that runs all it can starts in slot 0, the same as `plan_slots` gives; may be a fraction.

    `price[s]`, `capacity[s]`; `arrived[s]` tasks have come by slot s and `due[s]` must have started by it, both in all.
    Whoever comes first is due first: all have one slack, or are held already. Parts of tasks are allowed, since arrivals
    to come are expected, not known. Of slots at one price the soonest is taken.

    Tasks and places form a transversal matroid, so places are taken cheapest first and stay taken: slot 0 gets what it
    adds to the number that the cheaper slots alone can serve.
    """
    cheaper = np.flatnonzero(price < price[0]).tolist()
    without = _served(cheaper, capacity, arrived, due)
    return _served([0, *cheaper], capacity, arrived, due) - without


def _served(
    slots: Iterable[int], capacity: Sequence[float], arrived: Sequence[float], due: Sequence[float]
) -> float:
    """The most that can start in these slots, rising: the first in line first; who is overdue falls out."""
    served, gone = 0.0, 0.0
    for slot in slots:
        if slot and due[slot - 1] > gone:
            gone = due[slot - 1]
        some = min(capacity[slot], arrived[slot] - gone)
        if some > 0:
            served += some
            gone += some
    return served
