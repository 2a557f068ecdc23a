"""Tasks that can wait, on one capacity: every policy against the optimum in hindsight, on a trace of prices.

Hourly slots. Each hour brings tasks with a slack of 2, 6, 12 or 24 hours, a quarter each; a task of slack s that
arrives in slot t runs in one of t … t + s. A slot carries `capacity` tasks, a multiple of the mean arrivals. What finds
no place by its last slot is rescued outside the capacity at the dearest price of the 28 days before; the optimum may do
the same. Nothing arrives in the last 24 slots, so that every window closes. All policies keep to one rule of safety:
what must start now for the rest of the held to fit starts now, earliest deadline first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowtide.market.clearing.arrivals import coming_arrivals, usual_arrivals
from lowtide.market.clearing.flow import Network, min_cost_flow
from lowtide.market.clearing.plan import must_run_now, plan_slots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SLACKS = (2, 6, 12, 24)
LONGEST = max(SLACKS) + 1
DAY = 24
MONTH = 28 * DAY
_SCALE = 10_000
_PARTS = 10


@dataclass(frozen=True)
class Trial:
    """Prices, arrivals[slot, slack class] and a capacity; counted from `start` on, before it policies only learn."""

    price: Floats
    arrivals: Ints
    capacity: int
    start: int

    @property
    def rescue(self) -> Floats:
        """By slot the dearest price of the 28 days up to it."""
        padded = np.concatenate([np.full(MONTH - 1, -np.inf), self.price])
        return np.lib.stride_tricks.sliding_window_view(padded, MONTH).max(axis=1)


Forecast = Callable[[int, int], Floats]
"""(slot, S) gives expected prices of slots t … t + S − 1 from prices up to t alone; the first is the price now."""
Policy = Callable[[int, Ints], int]
"""(slot, held by last slot) gives how many start now, earliest deadline first."""


def arrivals_of(rate: Floats, seed: int = 5) -> Ints:
    """Poisson arrivals by slot and slack class at a mean rate by slot; none in the last 24 slots."""
    drawn = np.random.default_rng(seed).poisson(np.repeat(rate[:, None] / len(SLACKS), len(SLACKS), axis=1))
    drawn[-DAY:] = 0
    return drawn.astype(np.int64)


def simulate(trial: Trial, policy: Policy) -> tuple[float, int]:
    """What a policy pays, and how many tasks had to be rescued."""
    end, capacity = len(trial.price), np.full(LONGEST, trial.capacity, np.int64)
    rescue = trial.rescue
    held, paid, rescued = np.zeros(LONGEST, np.int64), 0.0, 0
    for slot in range(trial.start, end):
        held = np.append(held[1:], 0)
        for slack, number in zip(SLACKS, trial.arrivals[slot], strict=True):
            held[slack] += number
        wanted = max(policy(slot, held), must_run_now(capacity, held))
        running = min(wanted, trial.capacity, int(held.sum()))
        short = max(0, int(held[0]) - trial.capacity)
        paid += running * trial.price[slot] + short * rescue[slot]
        rescued += short
        held = held - np.clip(running + short - (np.cumsum(held) - held), 0, held)
    return paid, rescued


def optimum(trial: Trial) -> float:
    """The least that could have been paid with all prices and arrivals known (min-cost flow, exact)."""
    slots = len(trial.price) - trial.start
    price = np.rint(trial.price[trial.start :] * _SCALE).astype(np.int64)
    rescue = np.rint(trial.rescue[trial.start :] * _SCALE).astype(np.int64)
    count = trial.arrivals[trial.start :].reshape(-1)
    arrival = np.repeat(np.arange(slots), len(SLACKS))
    last = np.minimum(arrival + np.tile(SLACKS, slots), slots - 1)
    length = last - arrival + 1
    group = np.repeat(np.arange(len(count)), length)
    pool = arrival[group] + np.arange(len(group)) - np.repeat(np.cumsum(length) - length, length)
    # A rescue at equal price is no better than a place: the 1 keeps tasks inside the capacity.
    worth = rescue[last][group] - price[pool] + 1
    units = min_cost_flow(Network(count, np.full(slots, trial.capacity, np.int64), group, pool, worth))
    short = count - np.bincount(group, weights=units, minlength=len(count)).astype(np.int64)
    return int(units @ price[pool] + short @ rescue[last]) / _SCALE


def run_at_once(slot: int, held: Ints) -> int:
    """All that fits, as it comes."""
    return int(held.sum())


def thresholds(trial: Trial, reservation: Callable[[int], Floats]) -> Policy:
    """Each task for itself: it starts once the price is at most its reservation price, by slots left."""

    def decide(slot: int, held: Ints) -> int:
        return int(held[trial.price[slot] <= reservation(slot)].sum())

    return decide


def rolling_plan(trial: Trial, forecast: Forecast, slots: int = LONGEST) -> Policy:
    """The rolling plan of old: the held tasks on expected prices, blind to arrivals to come."""
    return _planned(trial, forecast, slots, None)


def plan_with_arrivals(trial: Trial, forecast: Forecast, slots: int = 36) -> Policy:
    """The market's rolling plan: the held tasks and the arrivals that the past lets expect, together."""
    return _planned(trial, forecast, slots, expected_arrivals(trial, slots))


def _planned(trial: Trial, forecast: Forecast, slots: int, coming: Callable[[int], Ints] | None) -> Policy:
    capacity = np.full(slots, trial.capacity, np.int64)

    def decide(slot: int, held: Ints) -> int:
        ahead = np.zeros(slots, np.int64)
        ahead[: len(held)] = held
        price = np.rint(forecast(slot, slots) * _SCALE).astype(np.int64)
        expected = None if coming is None else coming(slot)
        return int(plan_slots(price, capacity, ahead, expected, parts=_PARTS).run_now.sum())

    return decide


def expected_arrivals(trial: Trial, slots: int) -> Callable[[int], Ints]:
    """By slot: arrivals expected ahead [arrival, last slot] in tenths, the mean of that hour over the 14 days before."""
    later = np.arange(slots)

    def at(slot: int) -> Ints:
        usual = usual_arrivals(trial.arrivals, 0, slot, DAY)
        rate = np.zeros((slots, LONGEST))
        rate[:, SLACKS] = usual[later % DAY]
        return coming_arrivals(rate, _PARTS)

    return at
