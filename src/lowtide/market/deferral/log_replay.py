"""The backtest on tasks as they came: each with its own arrival, slack and size, on the prices of what served it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowtide.market.deferral.backtest import Row, follow, values_of
from lowtide.market.deferral.replay import clairvoyant, waits
from lowtide.market.deferral.series import Floats, Series
from lowtide.values.instants import SECOND_US


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task: the slot it came in, how many slots later it may still start, and its tokens."""

    slot: int
    slack: int
    weight: float


@dataclass(frozen=True, slots=True)
class Pool:
    """What served some of the tasks: its prices, and those tasks, with windows that lie within the prices."""

    series: Series
    arrivals: tuple[Arrival, ...]


def replay_log(pools: Sequence[Pool], names: Sequence[str], posted_us: int = 0) -> list[Row]:
    """What all the tasks would have cost by each policy, on the pools' prices together; one row a policy.

    `posted_us`: how far ahead prices were known. A row's `slack_s` is the mean of its tasks'.
    """
    found: dict[str, list[_Cost]] = {name: [] for name in names}
    for pool in pools:
        slacks = sorted({arrival.slack for arrival in pool.arrivals})
        *_, track = follow(pool.series, names, slacks)
        for slack in slacks:
            alike = [arrival for arrival in pool.arrivals if arrival.slack == slack]
            for name in names:
                values = None
                if slack:
                    ahead = posted_us // pool.series.slot_us
                    values = values_of(pool.series, track, name, slack, ahead)
                found[name].append(_Cost.of(pool.series, values, slack, alike))
    return [_row(name, costs) for name, costs in found.items()]


@dataclass(frozen=True, slots=True)
class _Cost:
    """Sums over tasks: cost at once, as decided, and at least; the worst ratio of one; time waited and slack, s."""

    tasks: int
    now: float
    paid: float
    least: float
    worst: float | None
    waited_s: float
    slack_s: float

    @classmethod
    def of(cls, series: Series, values: Floats | None, slack: int, alike: Sequence[Arrival]) -> "_Cost":
        slot = np.array([arrival.slot for arrival in alike], dtype=np.int64)
        weight = np.array([arrival.weight for arrival in alike])
        waited = np.zeros(len(slot), dtype=np.int64)
        if values is not None:
            waited = waits(series.prices, values)[slot, slack].astype(np.int64)
        now, paid = series.prices[slot], series.prices[slot + waited]
        dear = now > 0
        seconds = series.slot_us / SECOND_US
        return cls(
            len(slot),
            float(now @ weight),
            float(paid @ weight),
            float(clairvoyant(series.prices, slack)[slot] @ weight),
            float((paid[dear] / now[dear]).max()) if dear.any() else None,
            float(waited.sum()) * seconds,
            len(slot) * slack * seconds,
        )


def _row(name: str, costs: Sequence[_Cost]) -> Row:
    costs = list(costs)
    tasks = sum(one.tasks for one in costs)
    now, paid, least = (sum(getattr(one, part) for one in costs) for part in ("now", "paid", "least"))
    return Row(
        trace="log",
        slack_s=round(sum(one.slack_s for one in costs) / tasks) if tasks else 0,
        policy=name,
        tasks=tasks,
        vs_now=paid / now if now > 0 else None,
        vs_clairvoyant=paid / least if least > 0 else None,
        captured=(now - paid) / (now - least) if now - least > 1e-9 * abs(now) else None,
        worst_vs_now=max((one.worst for one in costs if one.worst is not None), default=None),
        mean_wait_s=sum(one.waited_s for one in costs) / tasks if tasks else None,
        misses=0,
    )
