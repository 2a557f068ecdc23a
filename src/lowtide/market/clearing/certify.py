"""Proof of optimality without a solver: pool prices that support the assignment, and the bound they give.

Duality: for any prices μ ≥ 0, no assignment is worth more than Σ μ·capacity + Σ count·max(0, max(w − μ)).
"""

from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Ints, run_starts
from lowtide.market.clearing.instance import MAX_WEIGHT_MICRO, Instance

_CHUNK = 256
_MOST_SWEEPS = 4_000
_DESCENT_STEPS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Arcs:
    """Arcs (`group`, `pool`) with plain weights (µUSD in an auction), and the units on each."""

    group: Ints
    pool: Ints
    weight: Ints
    units: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What no assignment can exceed, by prices μ of pools. µUSD. `surplus` is by group, per task."""

    price: Ints
    surplus: Ints
    value: int


def least_prices(count: Ints, pools: int, arcs: Arcs) -> Ints | None:
    """The least prices by pool, in the weights' unit, that support an assignment on its arcs (Bellman-Ford from zero).

    μ ≥ w of what is unserved, and μ ≥ w − w_j + μ_j of what is served at j. None: no prices do, it is not optimal.
    """
    by_pool = np.lexsort((arcs.group, arcs.pool))
    group, pool, weight = arcs.group[by_pool], arcs.pool[by_pool], arcs.weight[by_pool]
    starts = run_starts(pool)
    served = np.flatnonzero(arcs.units > 0)
    served = served[np.argsort(arcs.group[served], kind="stable")]
    served_pool, served_weight = arcs.pool[served], arcs.weight[served]
    served_starts = run_starts(arcs.group[served])
    served_groups = arcs.group[served][served_starts]
    units = np.bincount(arcs.group, weights=arcs.units, minlength=len(count)).astype(np.int64)
    waiting = units < count
    price = np.zeros(pools, np.int64)
    if not len(group):
        return price
    touched = pool[starts]
    for _ in range(_MOST_SWEEPS):
        surplus = np.zeros(len(count), np.int64)
        if len(served):
            surplus[served_groups] = np.minimum.reduceat(served_weight - price[served_pool], served_starts)
        if surplus.min() < 0:
            return None
        surplus[waiting] = 0
        wanted = np.maximum(price[touched], np.maximum.reduceat(weight - surplus[group], starts))
        if np.array_equal(wanted, price[touched]):
            return price
        price[touched] = wanted
    return None


def bound(instance: Instance, price: Ints) -> Bound:
    """The dual bound of prices over every arc of the instance, not only those a solver saw."""
    surplus = best_surplus(instance, price)
    value = int(price @ instance.capacity) + int(surplus @ instance.count)
    return Bound(price, surplus, value)


def best_surplus(instance: Instance, price: Ints) -> Ints:
    """By group the most a task could keep at the prices: max(0, max(w − μ))."""
    best = np.zeros(instance.group_count, np.int64)
    narrow = price.astype(np.int32)
    for start in range(0, instance.group_count, _CHUNK):
        margin = instance.weight[start : start + _CHUNK] - narrow
        best[start : start + _CHUNK] = np.maximum(margin.max(axis=1, initial=0), 0)
    return best


def descend(instance: Instance, welfare: int) -> Bound:
    """A bound for an assignment that no prices support: prices are moved by excess demand, and the best are kept."""
    best = here = bound(instance, np.zeros(instance.pool_count, np.int64))
    scale = 1.0
    for _ in range(_DESCENT_STEPS):
        slope = instance.capacity - _demand(instance, here.price)
        length = int(slope @ slope)
        if length == 0:
            break
        step = scale * max(here.value - welfare, 1) / length
        here = bound(
            instance, np.clip(here.price - np.rint(step * slope), 0, MAX_WEIGHT_MICRO).astype(np.int64)
        )
        if here.value < best.value:
            best = here
        else:
            scale *= 0.9
    return best


def _demand(instance: Instance, price: Ints) -> Ints:
    """Tasks by pool if each took its best pool at the prices."""
    demand = np.zeros(instance.pool_count, np.int64)
    narrow = price.astype(np.int32)
    for start in range(0, instance.group_count, _CHUNK):
        margin = instance.weight[start : start + _CHUNK] - narrow
        where = margin.argmax(axis=1)
        wants = margin[np.arange(len(margin)), where] > 0
        np.add.at(demand, where[wants], instance.count[start : start + _CHUNK][wants])
    return demand
