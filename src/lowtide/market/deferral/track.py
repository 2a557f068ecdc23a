"""The trail of policies along a series: at every slot, the values that each gave from what was known then."""

from collections.abc import Iterable

import numpy as np

from lowtide.market.deferral.policies import POLICIES
from lowtide.market.deferral.policy import Model, Past, run_now
from lowtide.market.deferral.series import Floats, Series

_REFIT_SHARE, _LONGEST_DAYS = 28, 7


class Track:
    """Trails of the named policies and of those that they hear; carried on as the series grows."""

    def __init__(self, names: Iterable[str], horizon: int) -> None:
        wanted = _with_heard(names)
        self._policies = [policy for name, policy in POLICIES.items() if name in wanted]
        self._models: dict[str, Model] = {}
        self._trails = {policy.name: run_now(0, horizon) for policy in self._policies}
        self._fitted_at = -1
        self.horizon = horizon
        self.slots = 0

    def of(self, name: str) -> Floats:
        """`[slot, r]`: the values given at each slot so far; +∞ (run now) where history was too short."""
        return self._trails[name][: self.slots]

    def model(self, name: str) -> Model | None:
        """The model that serves the newest slots; None where history is too short."""
        return self._models.get(name)

    def extend(self, series: Series) -> bool:
        """Carry on to the end of `series`, the one of before with more prices. True: the end is reached."""
        while not self.step(series):
            pass
        return True

    def step(self, series: Series) -> bool:
        """Carry on by one fit at most, made on the slots before it alone; whether the end of `series` is reached."""
        for name, held in self._trails.items():
            if len(held) < len(series):
                self._trails[name] = np.concatenate((held, run_now(len(series) - len(held), self.horizon)))
        if self.slots < len(series):
            begin, end = stretch(self.slots, series.slots_a_day)
            self._carry_on(series.until(begin), series.until(min(end, len(series))))
        return self.slots == len(series)

    def _carry_on(self, past: Series, seen: Series) -> None:
        known = Past(past, {name: held[: len(past)] for name, held in self._trails.items()})
        day = past.slots_a_day
        for policy in self._policies:
            if self._fitted_at < len(past) and len(past) >= policy.needs_days * day:
                self._models[policy.name] = policy.fit(known, self.horizon)
            model = self._models.get(policy.name)
            if model is not None:
                trails = {name: held[: len(seen)] for name, held in self._trails.items()}
                self._trails[policy.name][self.slots : len(seen)] = model.values(seen, trails, self.slots)
        self._fitted_at, self.slots = len(past), len(seen)


def stretch(slot: int, slots_a_day: int) -> tuple[int, int]:
    """The fit that serves a slot: begin and end of the days for which it is kept.

    One more day adds little to a long history: a model of n days serves n ÷ 28 days, at least one, at most seven.
    """
    begin, day = 0, slot // slots_a_day
    while True:
        end = begin + min(max(1, begin // _REFIT_SHARE), _LONGEST_DAYS)
        if day < end:
            return begin * slots_a_day, end * slots_a_day
        begin = end


def _with_heard(names: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in wanted:
            wanted.add(name)
            ahead += POLICIES[name].hears
    return wanted
