"""A simulated week under faults: what waits is decided on as the live market does it, and every deadline is judged.

`misses` follows each task twice through the same faults: as decided, and run at once on arrival. A task misses by
holding where only the second met its deadline. What no market could have met then is counted apart, by cause.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from lowtide.exchange.award import Candidate, candidates
from lowtide.exchange.batch_times import PRIOR_MS
from lowtide.exchange.ladder import call_limit, next_step
from lowtide.market.auction import AWARDED, HELD, QUEUED, Decision, decide
from lowtide.market.batch_times import BatchTimes
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast, ForecastUse
from lowtide.market.deferral.known import Deferral
from lowtide.market.deferral.reference import reference_nano
from lowtide.market.eligibility import LossReason
from lowtide.market.price_history import unit_prices
from lowtide.market.spot import Inputs, clear
from lowtide.market.task import Task
from tests.week_faults import HOUR, LEAP_US, MINUTE, SECOND, World, draw

KEY = bytes(32)
LATE_US = 3 * SECOND
"""A sweep looks every half second; a busy one comes later by up to so long."""
ATTEMPTS, LIMIT_US = 6, 120 * SECOND
NEVER = 2**62


@dataclass
class Fate:
    """How a task ended: `met`, or why not; whom it could turn to then; since when it ran or had to (truth, µs)."""

    end: str
    held: bool
    critical: int
    by_forecast: bool = False
    sellers: frozenset[str] = frozenset()


class Week:
    """One seed's week."""

    def __init__(self, seed: int) -> None:
        self.world: World = draw(seed)
        self._dice = Random(seed + 1)
        self._forecast = seed % 2 == 1
        self._starts = [at for at, _ in self.world.versions]

    def shown(self, at: int) -> int:
        """What the market's clock shows."""
        return self.world.faults.shown(at)

    def truth(self, at: int, shown: int) -> int:
        """The first instant from `at` on at which the clock shows that much."""
        while (left := shown - self.shown(at)) > 0:
            steps = [step for step, _ in self.world.faults.steps if at < step <= at + left]
            at = min(steps, default=at + left)
        return at

    def up(self, at: int) -> int:
        """The first instant from `at` on at which the machine runs."""
        return next((end for begin, end in self.world.faults.down if begin <= at < end), at)

    def book(self, at: int) -> Book:
        """The version of an instant."""
        return self.world.versions[bisect_right(self._starts, at) - 1][1]

    def follow(self, arrival: int, task: Task, *, at_once: bool) -> Fate:
        """Carry the task to its end."""
        deadline = task.constraints.complete_by or 0
        at, plan, fate, refused = self.up(arrival), None, Fate("", False, arrival), ()
        while True:
            shown, now = self.shown(at), self.book(at)
            if shown >= deadline:
                fate.end = "expired"
                return fate
            inputs = self._inputs(now, shown, refused)
            decision = decide(task, now, inputs, shown, KEY)
            refused = ()
            if not fate.sellers:
                fate.sellers = self._sellers(task, now, inputs, shown, shown)
            if at_once and decision.spot.top:
                decision = decision._replace(outcome=AWARDED, top=decision.spot.top, winner=None, batch=None)
            if decision.outcome == AWARDED and decision.batch is not None:
                fate.held, fate.critical = True, self.truth(at, decision.batch.rescue_at)
                fate.sellers = self._sellers(task, now, inputs, shown, decision.batch.rescue_at)
                at, back = self._batch(at, decision, now)
                if back:
                    fate.end = "met"
                    return fate
                refused = (decision.top[0].row,)
            elif decision.outcome == AWARDED:
                fate.critical = min(fate.critical, at)
                ended, at = self._run(at, deadline, candidates(decision, shown))
                if ended != "killed":
                    fate.end = ended
                    return fate
            elif decision.outcome == HELD:
                plan = self._plan(plan, decision.deferral, shown)
                fate.held, fate.critical = True, self.truth(at, plan.latest_start)
                fate.by_forecast |= plan.forecast is not None
                fate.sellers = self._sellers(task, now, inputs, shown, plan.latest_start)
                at = self._look(at, self.truth(at, plan.release_at))
            elif decision.outcome == QUEUED:
                edges = now.steps_between(shown, deadline)
                at = self._look(at, self.truth(at, min([*edges, deadline])))
            else:
                fate.end = "unfilled"
                return fate

    def _inputs(self, now: Book, shown: int, refused: tuple[int, ...]) -> Inputs:
        sellers = {row.offer.provider for row in now.rows if row.offer.lane == "batch"}
        times = tuple(BatchTimes(name, PRIOR_MS) for name in sorted(sellers))
        forecasts = tuple(self._forecasts(now, shown)) if self._forecast else ()
        return Inputs(refused=refused, closed_lanes=("batch",), batches=times, forecasts=forecasts)

    def _forecasts(self, now: Book, shown: int) -> Iterator[ForecastUse]:
        """What each offer is expected to cost; often wrong, sometimes of the hour before, as after an outage."""
        for number in range(len(now.rows)):
            quote = now.quote_at(number, shown)
            prices = None if quote is None else unit_prices(quote.prices)
            if prices is not None and self._dice.random() < 0.8:
                share = self._dice.choice([0.3, 0.8, 0.95])
                made_at = shown - (HOUR if self._dice.random() < 0.2 else 0)
                values = (round(reference_nano(prices) * share),) * 24
                yield ForecastUse(number, Forecast("offer", "mixture", made_at, HOUR, 24, values))

    def _sellers(self, task: Task, now: Book, inputs: Inputs, shown: int, latest: int) -> frozenset[str]:
        """Who can serve at the latest start, by what is posted; a quote that only lapses until then may be renewed."""
        standing, then = (clear(task, now, inputs, at, KEY).reason for at in (shown, latest))
        lapsed = (standing == 0) & (then == LossReason.NO_VALID_QUOTE)
        able = (row.offer.provider for row, can in zip(now.rows, (then == 0) | lapsed, strict=True) if can)
        return frozenset(able)

    def _plan(self, before: Deferral | None, after: Deferral, shown: int) -> Deferral:
        """A hold by forecast goes on until its own look, one for a posted slot while it is the same slot."""
        if before is None or before.row != after.row or before.release_at > after.latest_start:
            return after
        if after.forecast is not None:
            return before if before.policy == after.policy and shown < before.release_at else after
        return before if before.slot == after.slot else after

    def _look(self, at: int, due: int) -> int:
        """When a sweep decides again: once it is due, or the book has changed."""
        changed = bisect_right(self._starts, at)
        change = self._starts[changed] if changed < len(self._starts) else NEVER
        return self.up(max(at, min(due, change)) + self._dice.randrange(1, LATE_US))

    def _down(self, provider: str, begin: int, end: int) -> tuple[int, bool] | None:
        """When calls to the provider fail within a time, and whether they hang."""
        for outage in self.world.faults.outages:
            if outage.provider == provider and outage.begin < end and begin < outage.end:
                return max(begin, outage.begin), outage.hangs
        return None

    def _batch(self, at: int, decision: Decision, now: Book) -> tuple[int, bool]:
        """When it is back, or given back for its rescue; some never come back, and a seller that is down fails it."""
        rescue = self.truth(at, decision.batch.rescue_at)
        took = at + round(PRIOR_MS[-1] * 1_000 * self._dice.random() ** 3) + 15 * SECOND
        back = NEVER if self._dice.random() < 0.3 else took
        fault = self._down(now.rows[decision.top[0].row].offer.provider, at, at + MINUTE)
        if fault is not None and not fault[1]:
            return self.up(fault[0] + self._dice.randrange(1, LATE_US)), False
        if back < rescue:
            return back, True
        return self.up(rescue + self._dice.randrange(1, LATE_US)), False

    def _run(self, at: int, deadline: int, ladder: tuple[Candidate, ...]) -> tuple[str, int]:
        """Call down the ladder: `met`, `late`, `failed`, or `killed` by a restart and when the machine is up again."""
        step, clock = 0, self.shown(at)
        for number in range(1, ATTEMPTS + 1):
            bid = ladder[step % len(ladder)]
            began, left = at, deadline - clock
            failed = {ladder[place % len(ladder)].offer.provider for place in range(step)}
            limit = max(SECOND // 10, min(LIMIT_US, call_limit(ladder, bid, left, failed)))
            takes = round(1_000 * bid.p99_ms * self._dice.choice([1.0, 0.9, self._dice.random()]))
            fault = self._down(bid.offer.provider, at, at + min(takes, limit))
            if fault is not None:
                failed_at, hangs = fault
                at += limit if hangs else min(limit, failed_at - at + self._dice.randrange(1, SECOND))
            else:
                at += min(takes, limit)
            stop = [(begin, end) for begin, end in self.world.faults.down if began < begin <= at]
            if stop:
                return "killed", stop[0][1] + self._dice.randrange(1, SECOND)
            if fault is None and takes <= limit:
                return ("met" if self.shown(at) <= deadline else "late"), at
            at += self._dice.randrange(1, SECOND // 10)
            clock += at - began
            pauses = [
                0 if place < len(ladder) else SECOND // 2 * 2 ** (place // len(ladder) - 1)
                for place in range(step + 1, step + 1 + len(ladder))
            ]
            found = None if number == ATTEMPTS else next_step(ladder, step, deadline - clock, pauses)
            if found is None:
                return "failed", at
            at += pauses[found - step - 1]
            clock += pauses[found - step - 1]
            step = found
        raise AssertionError("an attempt too many")

    def apart(self, task: Task, fate: Fate) -> str | None:
        """Why nobody could have met the deadline when it ran or had to: all were out, or the clock leapt over it."""
        deadline, since = self.truth(fate.critical, task.constraints.complete_by or 0), fate.critical - MINUTE
        faults = self.world.faults
        if any(by > LEAP_US and since - by <= step <= deadline for step, by in faults.steps):
            return "leap"
        out = {outage.provider for outage in faults.outages if outage.begin < deadline and outage.end > since}
        out |= {provider for provider, at in faults.gone if at < deadline}
        return "outage" if fate.sellers <= out else None


def misses(seed: int) -> tuple[Counter, list[str]]:
    """What the week's tasks came to, and those that missed by holding, in words."""
    week, counts, found = Week(seed), Counter(), []
    for arrival, task in week.world.tasks:
        fate = week.follow(arrival, task, at_once=False)
        counts["tasks"] += 1
        counts["held"] += fate.held
        counts["held_by_forecast"] += fate.by_forecast
        if not fate.held or fate.end == "met":
            counts["held_met"] += fate.held
            continue
        if week.follow(arrival, task, at_once=True).end != "met":
            counts["lost_anyway"] += 1
            continue
        cause = week.apart(task, fate)
        counts[cause or "missed"] += 1
        if cause is None:
            found.append(f"seed {seed}, {task.id}: {fate.end}, latest start {fate.critical}")
    return counts, found
