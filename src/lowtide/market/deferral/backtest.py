"""The backtest: tasks that may wait on a trace of prices, run by each policy from what was known at the time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lowtide.market.deferral.capacity import least_cost_within_capacity, places, starts_within_capacity
from lowtide.market.deferral.capacity_plan import starts_by_plan
from lowtide.market.deferral.policies import LEARNED, POLICIES
from lowtide.market.deferral.portfolio import EXPERTS, mixture
from lowtide.market.deferral.posted import with_posted
from lowtide.market.deferral.price_paths import LEARNED_PATHS, Ahead
from lowtide.market.deferral.replay import clairvoyant, waits
from lowtide.market.deferral.series import Floats, Ints, Series
from lowtide.market.deferral.track import Track
from lowtide.values.instants import SECOND_US

MIXTURE = "mixture"
PLAN = "plan"
"""What runs by default within a capacity: the rolling plan, all that is held together. Not there without one."""
WARM_UP_DAYS = 28
NAMES = (*(name for name in POLICIES if not name.startswith("markov_chain")), MIXTURE)


@dataclass(frozen=True, slots=True)
class Tasks:
    """Slots of arrival, rising, and what each task's price is multiplied by (tokens; 1 where nothing is known)."""

    slot: Ints
    weight: Floats


@dataclass(frozen=True, slots=True)
class Case:
    """Tasks of one slack (slots) on one trace: those whose windows lie within it and after the warm-up.

    `capacity` is by slot, None without limit. `least` is what the clairvoyant pays: exact; within a capacity where tasks
    weigh alike and all can start in time, else it is the one without that limit, a bound.
    """

    trace: str
    series: Series
    slack: int
    slot: Ints
    weight: Floats
    came: Ints
    capacity: Ints | None
    least: float

    @classmethod
    def of(
        cls, trace: str, series: Series, tasks: Tasks, slack: int, capacity: int | Fraction | None = None
    ) -> "Case":
        """The case of a workload, at most `capacity` starts a slot (on average where it is a fraction)."""
        counted = (tasks.slot >= warm_up(series)) & (tasks.slot < len(series) - slack)
        slot, weight = tasks.slot[counted], tasks.weight[counted]
        limit = None if capacity is None else places(capacity, len(series))
        came = np.bincount(tasks.slot, minlength=len(series))
        least = _least(series.prices, slot, weight, slack, limit)
        return cls(trace, series, slack, slot, weight, came, limit, least)

    def starts(self, values: Floats) -> Ints:
        """The slot in which each task starts where each waits by its own values `[slot, r]`, r up to the slack."""
        if self.capacity is None:
            waited = waits(self.series.prices, values)[self.slot, self.slack]
            return np.asarray(self.slot + waited.astype(np.int64))
        return starts_within_capacity(self.series.prices, values, self.slot, self.capacity)

    def planned(self, ahead: Ahead, advance: Callable[[int], None] = lambda slots: None) -> Ints:
        """The same where all that is held is planned together; needs a capacity. `advance` hears of each slot done."""
        if self.capacity is None:
            raise ValueError("a plan needs a capacity")
        day = self.series.slots_a_day
        return starts_by_plan(ahead, self.slot, self.came, self.slack, self.capacity, day, advance)


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one trace at one slack. Ratios of sums of cost; None where there is nothing to divide by.

    `captured` = (run now − policy) ÷ (run now − clairvoyant), None where waiting cannot save. `worst_vs_now` is the
    worst single task's; tasks that came at a price of zero or less are left out. `misses`: begun after the latest start.
    """

    trace: str
    slack_s: int
    policy: str
    tasks: int
    vs_now: float | None
    vs_clairvoyant: float | None
    captured: float | None
    worst_vs_now: float | None
    mean_wait_s: float | None
    misses: int


def one_a_slot(series: Series) -> Tasks:
    """The usual workload: one task in every slot."""
    return Tasks(np.arange(len(series)), np.ones(len(series)))


def warm_up(series: Series) -> int:
    """The first slot whose tasks count: after 28 days, or after a third of a shorter trace."""
    return min(WARM_UP_DAYS * series.slots_a_day, len(series) // 3)


def usable(name: str, series: Series) -> bool:
    """Whether a policy can follow the series: learned ones look back by the hour, so a slot must divide one."""
    if series.slots_an_hour or name in (MIXTURE, PLAN):
        return True
    return name not in LEARNED and all(usable(heard, series) for heard in POLICIES[name].hears)


def experts_for(series: Series) -> tuple[str, ...]:
    """The mixture's experts that can follow the series."""
    return tuple(name for name in EXPERTS if usable(name, series))


def plan_reads(series: Series) -> tuple[str, ...]:
    """The policies whose forecasts feed the plan, where they can follow the series."""
    return tuple(name for name in LEARNED_PATHS if usable(name, series))


def follow(series: Series, names: Sequence[str], slacks: Sequence[int]) -> Iterator[Track]:
    """The track of what the named policies need for these slacks (slots), carried on fit by fit to the end."""
    needed = [name for name in names if name not in (MIXTURE, PLAN)]
    if MIXTURE in names:
        needed += experts_for(series)
    horizon = max(1, min(max(slacks, default=1), series.slots_a_day))
    if PLAN in names:
        # It looks a day ahead whatever the slack: it weighs arrivals to come.
        needed, horizon = [*needed, *plan_reads(series)], series.slots_a_day
    track = Track(needed, horizon)
    yield track
    while track.slots < len(series):
        track.step(series)
        yield track


def values_of(series: Series, track: Track, name: str, slack: int, posted: int = 0) -> Floats:
    """Continuation values `[slot, r]` of a policy for tasks with `slack` slots, when `posted` slots ahead are known.

    Beyond the track's horizon (a day) a task waits as if the horizon were left.
    """
    within = min(slack, track.horizon)
    if name == MIXTURE:
        found = mixture(series, [track.of(expert) for expert in experts_for(series)], within)
    else:
        found = track.of(name)[:, : within + 1]
    found = np.concatenate((found, np.repeat(found[:, -1:], slack - within, axis=1)), axis=1)
    return found if name == "run_now" else with_posted(series.prices, found, posted)


def judge(
    trace: str,
    series: Series,
    values: Floats,
    name: str,
    tasks: Tasks,
    capacity: int | Fraction | None = None,
) -> Row:
    """What the tasks whose windows lie within the trace cost under these values, at most `capacity` starts a slot."""
    case = Case.of(trace, series, tasks, values.shape[1] - 1, capacity)
    return row_of(case, name, case.starts(values))


def row_of(case: Case, name: str, start: Ints) -> Row:
    """What the tasks of a case cost when they start in these slots."""
    prices, slot_s = case.series.prices, case.series.slot_us / SECOND_US
    now, paid = prices[case.slot], prices[start]
    at_once, cost, least = float(now @ case.weight), float(paid @ case.weight), case.least
    dear = now > 0
    return Row(
        trace=case.trace,
        slack_s=case.slack * case.series.slot_us // SECOND_US,
        policy=name,
        tasks=len(case.slot),
        vs_now=cost / at_once if at_once > 0 else None,
        vs_clairvoyant=cost / least if least > 0 else None,
        captured=(at_once - cost) / (at_once - least) if at_once - least > 1e-9 * abs(at_once) else None,
        worst_vs_now=float((paid[dear] / now[dear]).max()) if dear.any() else None,
        mean_wait_s=float((start - case.slot).mean()) * slot_s if len(case.slot) else None,
        misses=int((start > case.slot + case.slack).sum()),
    )


def _least(prices: Floats, slot: Ints, weight: Floats, slack: int, capacity: Ints | None) -> float:
    if capacity is not None and len(slot) and (weight == weight[0]).all():
        within = least_cost_within_capacity(prices, slot, slack, capacity)
        if within is not None:
            return within * float(weight[0])
    return float(clairvoyant(prices, slack)[slot] @ weight)
