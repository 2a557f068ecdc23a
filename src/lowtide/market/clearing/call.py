"""The call auction: show the solver the arcs that matter, certify, show it what the prices favour, until it is proven."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Bools, Ints, frozen
from lowtide.market.clearing.certify import Arcs, Bound, bound, descend, least_prices
from lowtide.market.clearing.columns import first_arcs, priced_arcs
from lowtide.market.clearing.flow import Network, Solver, SolverTimedOut, greedy, min_cost_flow, solver_name
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.ties import TieBreak, tie_break

_MOST_ROUNDS = 12
_PPM = 1_000_000
GREEDY = "greedy by surplus"


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    arcs: Arcs
    welfare: int
    bound: Bound


def clear_call(
    instance: Instance, key: bytes, *, gap_ppm: int = 0, solver: Solver = min_cost_flow
) -> Cleared:
    """Assign held tasks to pools for the greatest surplus, with prices that prove how near to the optimum it is.

    `key` is the auction's key, which breaks ties. Ends when the certified gap is at most `gap_ppm` (0: the optimum),
    or after 12 solves. A solver that times out leaves the last solution, or the greedy one, with its own gap.
    Raises BadValue `auction_too_large`, SolverFailed.
    """
    ties = tie_break(instance, key)
    shown = first_arcs(instance, ties)
    rounds: list[tuple[int, int, int]] = []
    best: _Solved | None = None
    name = solver_name() if solver is min_cost_flow else getattr(solver, "name", "other")
    while True:
        try:
            solved = _solve(instance, shown, ties, solver)
        except SolverTimedOut:
            if best is None:
                best, name = _greedy(instance, shown, ties), GREEDY
            return _cleared(instance, best, name, "timed_out", tuple(rounds))
        rounds.append((len(solved.arcs.group), solved.welfare, solved.bound.value))
        before, best = best, _better(best, solved)
        gap = best.bound.value - best.welfare
        if gap * _PPM <= gap_ppm * best.bound.value or len(rounds) == _MOST_ROUNDS:
            return _cleared(instance, best, name, "optimal" if gap == 0 else "within_gap", tuple(rounds))
        favoured = priced_arcs(instance, solved.bound.price, solved.arcs)
        if before is not None and 2 * gap > before.bound.value - before.welfare:
            favoured |= shown
        if not (favoured & ~shown).any():
            return _cleared(instance, best, name, "within_gap", tuple(rounds))
        shown = favoured


def _better(best: _Solved | None, solved: _Solved) -> _Solved:
    """The greater welfare with the lower bound: each holds on its own."""
    if best is None:
        return solved
    lowest = min(best.bound, solved.bound, key=lambda one: one.value)
    return _Solved(
        *((solved.arcs, solved.welfare) if solved.welfare >= best.welfare else (best.arcs, best.welfare)),
        lowest,
    )


def _solve(instance: Instance, shown: Bools, ties: TieBreak, solver: Solver) -> _Solved:
    network, weight = _network(instance, shown, ties)
    arcs = Arcs(network.group, network.pool, weight, solver(network))
    welfare = int(arcs.weight @ arcs.units)
    prices = least_prices(instance.count, instance.pool_count, arcs)
    return _Solved(arcs, welfare, descend(instance, welfare) if prices is None else bound(instance, prices))


def _greedy(instance: Instance, shown: Bools, ties: TieBreak) -> _Solved:
    network, weight = _network(instance, shown, ties)
    arcs = Arcs(network.group, network.pool, weight, greedy(network))
    welfare = int(arcs.weight @ arcs.units)
    return _Solved(arcs, welfare, descend(instance, welfare))


def _network(instance: Instance, shown: Bools, ties: TieBreak) -> tuple[Network, Ints]:
    group, pool = (index.astype(np.int64) for index in np.nonzero(shown))
    worth = ties.scaled(instance, group, pool)
    weight = instance.weight[group, pool].astype(np.int64)
    return Network(instance.count, instance.capacity, group, pool, worth), weight


def _cleared(
    instance: Instance, best: _Solved, name: str, how: str, rounds: tuple[tuple[int, int, int], ...]
) -> Cleared:
    used = best.arcs.units > 0
    return Cleared(
        instance.digest,
        name,
        how,
        frozen(best.arcs.group[used]),
        frozen(best.arcs.pool[used]),
        frozen(best.arcs.units[used]),
        frozen(best.bound.price),
        best.welfare,
        best.bound.value,
        rounds,
    )
