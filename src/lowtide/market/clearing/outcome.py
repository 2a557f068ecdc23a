"""What a call auction came to, as a value that a record keeps and anyone can verify without a solver."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowtide.market.clearing.arrays import Ints, frozen
from lowtide.market.clearing.certify import bound
from lowtide.market.clearing.instance import Instance

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """An assignment with its certificate. Money in µUSD.

    `group`, `pool`, `units` list what is assigned, in order. `price` is μ by pool, the scarcity signal.
    `bound_micro` is what no assignment can exceed; the gap is how far `welfare_micro` may be below the optimum.
    `how` is `optimal`, `within_gap`, or `timed_out`; `rounds` lists (arcs, welfare, bound) of each solve.
    """

    instance_digest: str
    solver: str
    how: str
    group: Ints
    pool: Ints
    units: Ints
    price: Ints
    welfare_micro: int
    bound_micro: int
    rounds: tuple[tuple[int, int, int], ...]

    @property
    def gap_micro(self) -> int:
        """The certified gap, µUSD; 0 is proof of the optimum."""
        return self.bound_micro - self.welfare_micro

    @property
    def gap_ppm(self) -> int:
        """The certified gap in parts per million of the bound, rounded up."""
        return -(-self.gap_micro * _PPM // self.bound_micro) if self.bound_micro else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found: `faults` name each thing that does not hold, none if all does. µUSD."""

    faults: tuple[str, ...]
    welfare_micro: int
    bound_micro: int

    @property
    def optimal(self) -> bool:
        """Whether the outcome holds and is proven to be the optimum."""
        return not self.faults and self.welfare_micro == self.bound_micro


def verify(instance: Instance, cleared: Cleared) -> Verdict:
    """Check feasibility, objective and certificate of an outcome, without solving.

    Faults: `instance`, `shape`, `no_such_arc`, `too_many_tasks`, `over_capacity`, `welfare`, `negative_price`, `bound`.
    """
    faults = [] if cleared.instance_digest == instance.digest else ["instance"]
    group, pool, units, price = cleared.group, cleared.pool, cleared.units, cleared.price
    fits = len(group) == len(pool) == len(units) and len(price) == instance.pool_count
    if fits and len(group):
        fits = bool(
            group.min() >= 0
            and group.max() < instance.group_count
            and pool.min() >= 0
            and pool.max() < instance.pool_count
            and units.min() > 0
        )
    if not fits:
        return Verdict((*faults, "shape"), 0, 0)
    weight = instance.weight[group, pool].astype(np.int64)
    welfare = int(weight @ units)
    checks = (
        ("no_such_arc", bool((weight <= 0).any())),
        ("too_many_tasks", bool((_totals(group, units, instance.group_count) > instance.count).any())),
        ("over_capacity", bool((_totals(pool, units, instance.pool_count) > instance.capacity).any())),
        ("welfare", welfare != cleared.welfare_micro),
        ("negative_price", bool((price < 0).any() or (price > 2**31 - 1).any())),
    )
    faults += [name for name, found in checks if found]
    proven = 0 if "negative_price" in faults else bound(instance, price).value
    if proven != cleared.bound_micro:
        faults.append("bound")
    return Verdict(tuple(faults), welfare, proven)


def outcome_values(cleared: Cleared) -> dict[str, Any]:
    """The JSON form for the record of a round: integers and strings only."""
    priced = np.flatnonzero(cleared.price)
    return {
        "instance": cleared.instance_digest,
        "solver": cleared.solver,
        "how": cleared.how,
        "assigned": np.stack([cleared.group, cleared.pool, cleared.units], axis=1).tolist(),
        "prices": [[pool, int(cleared.price[pool])] for pool in priced.tolist()],
        "pools": len(cleared.price),
        "welfare": cleared.welfare_micro,
        "bound": cleared.bound_micro,
        "rounds": [list(numbers) for numbers in cleared.rounds],
    }


def outcome_from_values(values: dict[str, Any]) -> Cleared:
    """The outcome of a record's JSON form."""
    assigned = np.array(values["assigned"], np.int64).reshape(-1, 3)
    price = np.zeros(values["pools"], np.int64)
    for pool, micro in values["prices"]:
        price[pool] = micro
    return Cleared(
        values["instance"],
        values["solver"],
        values["how"],
        frozen(assigned[:, 0]),
        frozen(assigned[:, 1]),
        frozen(assigned[:, 2]),
        frozen(price),
        values["welfare"],
        values["bound"],
        tuple((arcs, welfare, proven) for arcs, welfare, proven in values["rounds"]),
    )


def _totals(index: Ints, units: Ints, size: int) -> Ints:
    totals = np.zeros(size, np.int64)
    np.add.at(totals, index, units)
    return totals
