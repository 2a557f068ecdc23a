"""The optimum on a set of arcs, by min-cost flow: unit tasks make the matrix totally unimodular."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Ints
from lowtide.values.errors import Unavailable

GUARD_BITS = 61
"""Worth × nodes stays below 2^61: OR-tools multiplies costs by its nodes + 1 and refuses what then nears 2^63."""


class SolverTimedOut(Exception):
    """A solver gave up in time; the round is then cleared greedily, and its gap is told."""


class SolverFailed(Unavailable):
    """The solver refused a network that it should solve."""

    code = "solver_failed"


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Groups with `count` tasks, pools with `capacity`, and arcs (`group`, `pool`) worth `worth` a unit."""

    count: Ints
    capacity: Ints
    group: Ints
    pool: Ints
    worth: Ints


Solver = Callable[[Network], Ints]
"""Units by arc, integer and of the greatest worth. May raise SolverTimedOut."""


def solver_name() -> str:
    """The solver and its version, as a record names it: another version may choose among equal optima otherwise."""
    import ortools

    return f"ortools {ortools.__version__} SimpleMinCostFlow"


def min_cost_flow(network: Network) -> Ints:
    """The optimum by OR-tools' cost scaling, exact on integers.

    A task that is not served flows past the pools at no cost, so the network is always feasible.
    Raises SolverFailed where the solver does not answer with an optimum.
    """
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    groups, pools = len(network.count), len(network.capacity)
    sink = groups + pools
    node = np.arange(sink + 1, dtype=np.int32)
    solver = SimpleMinCostFlow()
    arcs = solver.add_arcs_with_capacity_and_unit_cost(
        network.group.astype(np.int32),
        (groups + network.pool).astype(np.int32),
        np.minimum(network.count[network.group], network.capacity[network.pool]),
        -network.worth,
    )
    for tails, most in ((node[groups:sink], network.capacity), (node[:groups], network.count)):
        solver.add_arcs_with_capacity_and_unit_cost(
            tails, np.full(len(tails), sink, np.int32), most, np.zeros(len(tails), np.int64)
        )
    supply = np.concatenate([network.count, np.zeros(pools, np.int64), [-int(network.count.sum())]])
    solver.set_nodes_supplies(node, supply)
    status = solver.solve()
    if status != solver.OPTIMAL:
        raise SolverFailed(
            f"The solver answered {status} on {len(network.group)} arcs. Shard the round, and report it."
        )
    return np.asarray(solver.flows(arcs), dtype=np.int64)


def out_of_time(network: Network) -> Ints:
    """The solver of a shell that has already waited too long for another. Raises SolverTimedOut."""
    raise SolverTimedOut(f"No time is left to solve {len(network.group)} arcs.")


def greedy(network: Network) -> Ints:
    """Units by arc, the worthiest arc first: within some per cent of the optimum, and never without an answer."""
    left, free = network.count.tolist(), network.capacity.tolist()
    group, pool = network.group.tolist(), network.pool.tolist()
    units = np.zeros(len(group), np.int64)
    for arc in np.lexsort((network.pool, network.group, -network.worth)).tolist():
        taken = min(left[group[arc]], free[pool[arc]])
        if taken > 0:
            units[arc] = taken
            left[group[arc]] -= taken
            free[pool[arc]] -= taken
    return units
