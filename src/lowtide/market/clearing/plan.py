"""The rolling plan of one capacity: which held tasks run now, made anew every slot with what is expected to come."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Ints, frozen
from lowtide.market.clearing.certify import Arcs, least_prices
from lowtide.market.clearing.flow import GUARD_BITS, Network, Solver, min_cost_flow
from lowtide.values.errors import BadValue


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A plan over S slots; only slot 0 is firm.

    `run_now` is by last slot: how many of the held tasks due by it start now. `held` and `coming` are what the plan
    gives each slot to held tasks and to arrivals that are only expected, in parts of a request slot. `scarcity_nano`
    is what one more request slot would save, at most the range of the prices. `short` counts parts of tasks that find
    no place by their last slot.
    """

    run_now: Ints
    held: Ints
    coming: Ints
    scarcity_nano: Ints
    short: int


def plan_slots(
    price_nano: Ints,
    capacity: Ints,
    held: Ints,
    coming: Ints | None = None,
    *,
    parts: int = 1,
    solver: Solver = min_cost_flow,
) -> Plan:
    """The cheapest plan that runs all it can by their last slots.

    Shapes: `price_nano[S]` is the price of a task in each slot, posted or expected, `capacity[S]` in request slots,
    `held[S]` the held tasks by last slot, `coming[S, S]` the expected arrivals by slot of arrival and last slot, in
    parts of a task (with `parts` 10 a 3 is 0.3 tasks). Prices may be negative. Identical tasks are one group, so the
    work does not grow with their number. Raises BadValue `plan_shape` or `plan_too_dear`, SolverFailed, SolverTimedOut.
    """
    slots = len(price_nano)
    expected = np.zeros((slots, slots), np.int64) if coming is None else coming
    if capacity.shape != (slots,) or held.shape != (slots,) or expected.shape != (slots, slots) or not slots:
        raise BadValue(
            "plan_shape", "Prices, capacity, held tasks and arrivals of a plan are not over the same slots."
        )
    arrival, due, count = _groups(held * parts, expected)
    network = _network(price_nano, capacity * parts, arrival, due, count)
    units = solver(_sooner(network))
    known = network.group < int(np.count_nonzero(held))
    held_by_slot = _by_slot(network.pool[known], units[known], slots)
    return Plan(
        _soonest_due(held, int(2 * held_by_slot[0] + parts) // (2 * parts)),
        held_by_slot,
        _by_slot(network.pool[~known], units[~known], slots),
        _scarcity(network, units, int(price_nano.max() - price_nano.min())),
        int(count.sum() - units.sum()),
    )


def must_run_now(capacity: Ints, held: Ints) -> int:
    """How many held tasks (by last slot) must start in slot 0 for the rest still to fit, earliest deadline first."""
    later = np.concatenate(([0], np.cumsum(capacity[1:])))
    return max(0, int((np.cumsum(held) - later).max()))


def _groups(held: Ints, coming: Ints) -> tuple[Ints, Ints, Ints]:
    """Arrival, last slot and number of each group: the held first."""
    waiting = np.flatnonzero(held)
    arrival, due = np.nonzero(coming)
    return (
        np.concatenate([np.zeros(len(waiting), np.int64), arrival]),
        np.concatenate([waiting, due]),
        np.concatenate([held[waiting], coming[arrival, due]]).astype(np.int64),
    )


def _network(price_nano: Ints, capacity: Ints, arrival: Ints, due: Ints, count: Ints) -> Network:
    slot = np.arange(len(price_nano))
    reach = (slot >= arrival[:, None]) & (slot <= due[:, None])
    group, pool = (index.astype(np.int64) for index in np.nonzero(reach))
    dearest = int(price_nano.max())
    # One more task served moves at most every slot's task once: it must be worth more than all that can cost.
    served = (dearest - int(price_nano.min()) + 1) * (len(slot) + 1)
    return Network(count, capacity, group, pool, dearest - price_nano[pool] + served)


def _sooner(network: Network) -> Network:
    """The same worths with room below them, in which a sooner slot is better: it keeps the later ones open."""
    slots, nodes = len(network.capacity), len(network.capacity) + len(network.count) + 2
    most = int(network.worth.max(initial=0))
    below = (int(network.count.sum()) * slots).bit_length()
    room = GUARD_BITS - most.bit_length() - nodes.bit_length()
    if room < 0:
        raise BadValue("plan_too_dear", f"Prices that differ by {most} nano-USD in all overflow the solver.")
    if room < below:
        return network
    worth = (network.worth << below) + (slots - 1 - network.pool)
    return Network(network.count, network.capacity, network.group, network.pool, worth)


def _scarcity(network: Network, units: Ints, most: int) -> Ints:
    prices = least_prices(
        network.count, len(network.capacity), Arcs(network.group, network.pool, network.worth, units)
    )
    return frozen(np.zeros(len(network.capacity), np.int64) if prices is None else np.minimum(prices, most))


def _by_slot(pool: Ints, units: Ints, slots: int) -> Ints:
    totals = np.zeros(slots, np.int64)
    np.add.at(totals, pool, units)
    return frozen(totals)


def _soonest_due(held: Ints, running: int) -> Ints:
    """Which of the held start now: those with the least slack; all could, so none else would keep more open."""
    before = np.cumsum(held) - held
    return frozen(np.clip(running - before, 0, held))
